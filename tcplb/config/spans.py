"""Where in a TOML text each value, key and header stands, to the character: for editing it.

What is written between them, such as comments and blank lines, is left to whoever edits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tcplb.config.keypath import KeyPath
from tcplb.config.lines import _Scanner


class Span(NamedTuple):
    """A piece of a text, as a slice has it."""

    start: int
    end: int


@dataclass(slots=True)
class Spans:
    """The pieces of one text.

    `values` has every value by its path, and so the elements of arrays. `headers` has the
    ``[table]`` and ``[[table]]`` lines, without what stands around them. `pairs` has, for each
    table with a header or in braces, its ``key = value`` pairs in the order of the text.
    """

    values: dict[KeyPath, Span] = field(default_factory=dict)
    headers: dict[KeyPath, Span] = field(default_factory=dict)
    pairs: dict[KeyPath, list[Span]] = field(default_factory=dict)


def spans_of(text: str) -> Spans:
    """The pieces of `text`, which must be TOML that `tomllib` accepts."""
    # The scanner knows only one kind of line end. A blank before it changes no place.
    scanner = _SpanScanner(text.replace("\r\n", " \n"))
    scanner.scan()
    return scanner.spans


class _SpanScanner(_Scanner):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.spans = Spans()

    def _header(self) -> KeyPath:
        start = self._position
        path = super()._header()
        self.spans.headers[path] = Span(start, self._position)
        return path

    def _pair(self, table: KeyPath) -> None:
        start = self._position
        super()._pair(table)
        self.spans.pairs.setdefault(table, []).append(self._span_from(start))

    def _value(self, path: KeyPath) -> None:
        start = self._position
        super()._value(path)
        self.spans.values[path] = self._span_from(start)

    def _span_from(self, start: int) -> Span:
        # A bare value is scanned up to what ends it, blanks included.
        return Span(start, start + len(self._text[start : self._position].rstrip()))

"""Edits of the backends in a TOML text, which leave every other character as it is.

A backend is a table under a header, ``[[pools.web.backends]]``, or one in braces in an array,
``backends = [{ address = "a:1" }]``. Each function takes a text that `tomllib` accepts, and paths
of backends in it, and returns the new text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tcplb.config.keypath import KeyPath
from tcplb.config.spans import Span, Spans, spans_of

_COMMA = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*,")
_REST_OF_LINE = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)")
_BLANK_LINE = re.compile(r"[ \t]*(?:\r?\n|\Z)")
_BLANKS = re.compile(r"[ \t]*")


class _Edit(NamedTuple):
    """A piece of the text that gets another content."""

    piece: Span
    content: str


def set_keys(text: str, keys_of: Mapping[KeyPath, Mapping[str, object]]) -> str:
    """With keys set in the backends at these paths: in place, or behind the last key."""
    spans = spans_of(text)
    edits: list[_Edit] = []
    for path, keys in keys_of.items():
        known = {key: value for key, value in keys.items() if (*path, key) in spans.values}
        edits += [_Edit(spans.values[(*path, key)], _literal(known[key])) for key in known]
        new = _pairs({key: value for key, value in keys.items() if key not in known})
        if new:
            edits.append(_more_keys(text, spans, path, new))
    for (start, end), content in sorted(edits, reverse=True):  # the others stay where they are
        text = text[:start] + content + text[end:]
    return text


def add_behind(text: str, path: KeyPath, tables: Sequence[Mapping[str, object]]) -> str:
    """With more backends behind that at `path`, the last one, in the same form."""
    spans = spans_of(text)
    if path not in spans.headers:
        return _with_elements(text, spans, path, [f"{{ {', '.join(_pairs(t))} }}" for t in tables])
    start, end = spans.headers[path]
    line_end = _line_end(text, spans.pairs[path][-1].end)
    lines = [line for table in tables for line in ("", text[start:end], *_pairs(table))]
    indent = text[_line_start(text, start) : start]
    return text[:line_end] + _joined(text, ["", *lines], indent) + text[line_end:]


def remove(text: str, path: KeyPath) -> str:
    """Without the backend at `path`, which must not be the only one.

    The comments within it and on its lines go with it, and so do comment lines directly above it if
    they clearly belong to it: there is a blank line above them, and it is not the first backend,
    where they may be about all of them. Comments below it stay.
    """
    spans = spans_of(text)
    if path in spans.headers:
        return _without_lines(
            text, spans, path, spans.headers[path].start, spans.pairs[path][-1].end
        )
    return _without_element(text, spans, path)


def _pairs(table: Mapping[str, object]) -> list[str]:
    return [f"{key} = {_literal(value)}" for key, value in table.items()]


def _more_keys(text: str, spans: Spans, path: KeyPath, pairs: Sequence[str]) -> _Edit:
    start, end = spans.pairs[path][-1]
    if path not in spans.headers:
        return _Edit(Span(end, end), "".join(f", {pair}" for pair in pairs))
    indent = text[_line_start(text, start) : start]
    end = _line_end(text, end)
    return _Edit(Span(end, end), _joined(text, ["", *pairs], indent))


def _with_elements(text: str, spans: Spans, path: KeyPath, elements: Sequence[str]) -> str:
    start, end = spans.values[path]
    comma = _COMMA.match(text, end)
    behind = comma.end() if comma else end
    if not _has_own_lines(text, start, behind) or "\n" in text[end:behind]:
        return f"{text[:end]}, {', '.join(elements)}{text[end:]}"
    line_end = _line_end(text, behind)
    indent = text[_line_start(text, start) : start]
    last_comma = "," if comma else ""
    lines = [*(f"{element}," for element in elements[:-1]), f"{elements[-1]}{last_comma}"]
    added = _joined(text, ["", *lines], indent)
    if comma:
        return f"{text[:line_end]}{added}{text[line_end:]}"
    return f"{text[:end]},{text[end:line_end]}{added}{text[line_end:]}"


def _without_element(text: str, spans: Spans, path: KeyPath) -> str:
    start, end = spans.values[path]
    comma = _COMMA.match(text, end)
    behind = comma.end() if comma else end
    if _has_own_lines(text, start, behind):
        return _without_lines(text, spans, path, start, behind)
    array, index = path[:-1], int(path[-1])
    is_last = (*array, index + 1) not in spans.values
    before = spans.values[(*array, index - 1)].end if index else start
    if is_last and not text[before:start].strip(" \t,"):
        return text[:before] + text[end:]  # the comma before it goes, one behind it stays
    return text[:start] + text[_skip(_BLANKS, text, behind) :]


def _without_lines(text: str, spans: Spans, path: KeyPath, start: int, end: int) -> str:
    """Without the lines from `start` to `end`, the comment that belongs to them, and a gap."""
    floor = _end_before(spans, start)
    top = _line_start(text, start)
    if path[-1] != 0:
        top = _comment_above(text, top, floor)
    bottom = _skip(_REST_OF_LINE, text, end)
    # Of the blank lines above and below only one side stays.
    if _BLANK_LINE.match(text, bottom):
        top = _blank_lines_above(text, top, floor)
    return text[:top] + text[bottom:]


def _comment_above(text: str, line: int, floor: int) -> int:
    """Where the comment directly above `line` starts, if there is a blank line above it."""
    top = line
    while top > floor and text[_line_start(text, top - 1) : top].lstrip().startswith("#"):
        top = _line_start(text, top - 1)
    return top if _blank_lines_above(text, top, floor) < top else line


def _blank_lines_above(text: str, line: int, floor: int) -> int:
    """Where the blank lines directly above `line` start."""
    while line > floor:
        above = _line_start(text, line - 1)
        if above < floor or text[above:line].strip():
            break
        line = above
    return line


def _end_before(spans: Spans, start: int) -> int:
    """The end of the last key, value or header before `start`: comments are behind it."""
    pieces = [*spans.values.values(), *spans.headers.values()]
    return max((piece.end for piece in pieces if piece.end <= start), default=0)


def _has_own_lines(text: str, start: int, end: int) -> bool:
    """Whether nothing but a comment stands beside it."""
    before = text[_line_start(text, start) : start]
    return not before.strip() and _REST_OF_LINE.match(text, end) is not None


def _joined(text: str, lines: list[str], indent: str) -> str:
    """The lines with the line ends that the text has."""
    first_end = text.find("\n")
    newline = "\r\n" if text[first_end - 1 : first_end] == "\r" else "\n"
    return newline.join(f"{indent}{line}" if line else "" for line in lines)


def _line_start(text: str, position: int) -> int:
    return text.rfind("\n", 0, position) + 1


def _line_end(text: str, position: int) -> int:
    """The end of what is written on the line, its comment included."""
    end = text.find("\n", position)
    end = len(text) if end < 0 else end
    return end - 1 if text[end - 1] == "\r" else end


def _skip(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _literal(value: object) -> str:
    # The strings of a backend have no character that JSON and TOML would write differently.
    return json.dumps(value)

"""Writes tables as TOML, with a comment behind each value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tcplb.config.keypath import KeyPath, format_key

Comment = Callable[[KeyPath], str]
"""What to write behind the value, or the heading, at that path; empty for nothing."""


@dataclass(frozen=True, slots=True)
class TomlText:
    """How a document is written."""

    of_value: Comment
    of_heading: Comment

    def lines(self, document: Mapping[str, Any]) -> Iterator[str]:
        """Yield the lines of a document, without line ends. What is None is left out."""
        return self._table((), document)

    def _table(self, path: KeyPath, table: Mapping[str, Any]) -> Iterator[str]:
        """Yield the values of a table first, as TOML wants it, then the tables in it."""
        for key, value in table.items():
            if value is not None and not _holds_tables(value):  # TOML has no null
                line = f"{format_key(key)} = {_value(value)}"
                yield _with_comment(line, self.of_value((*path, key)))
        for key, value in table.items():
            if isinstance(value, dict):
                yield from self._headed((*path, key), value, "[{}]")
            elif _holds_tables(value):
                for index, entry in enumerate(value):
                    yield from self._headed((*path, key, index), entry, "[[{}]]")

    def _headed(self, path: KeyPath, table: Mapping[str, Any], brackets: str) -> Iterator[str]:
        if not table or not all(_holds_tables(value) for value in table.values()):
            name = ".".join(format_key(step) for step in path if isinstance(step, str))
            yield ""
            yield _with_comment(brackets.format(name), self.of_heading(path))
        yield from self._table(path, table)


def _with_comment(line: str, comment: str) -> str:
    return f"{line}  # {comment}" if comment else line


def _holds_tables(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(entry, dict) for entry in value)
    return isinstance(value, dict)


def _value(value: object) -> str:
    # JSON's strings and numbers are TOML's too, but for DEL, which TOML wants escaped. So does a
    # terminal, and more: whatever cannot be printed.
    written = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in written)

"""On which line of a TOML text each key stands, which `tomllib` does not tell."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping

from tcplb.config.keypath import KeyPath

# A multi-line string may end in up to two quotes of its own before its three closing ones.
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|'[^']*'""")
_BARE_VALUE = re.compile(r"[^,\]}#\n]+")
_SPACES = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of every table, key and array element in `text`.

    `text` must be TOML that `tomllib` accepts; of anything else the result is arbitrary. A table
    stands where its header is, or where it is first mentioned if it has none.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.scan()
    return scanner.lines


def nearest(path: KeyPath, known: Mapping[KeyPath, object]) -> KeyPath | None:
    """The longest beginning of `path` that is in `known`, if there is one."""
    for length in range(len(path), -1, -1):
        if path[:length] in known:
            return path[:length]
    return None


class _Scanner:
    """Reads a valid TOML text once, from start to end; `lines` is what it found."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._position = 0
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._array_sizes: dict[KeyPath, int] = {}  # of the arrays of tables, so far

    def scan(self) -> None:
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._position < len(self._text):
            if self._text[self._position] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> KeyPath:
        line = self._line()
        brackets = 2 if self._text.startswith("[[", self._position) else 1
        self._position += brackets
        path = self._enter((), self._keys(), line)
        self._position += brackets
        if brackets == 2:
            index = self._array_sizes.get(path, 0)
            self._array_sizes[path] = index + 1
            path = (*path, index)
        self.lines[path] = line
        return path

    def _pair(self, table: KeyPath) -> None:
        path = self._enter(table, self._keys(), self._line())
        self._position += 1  # the equals sign
        self._skip(_SPACES)
        self._value(path)

    def _enter(self, table: KeyPath, keys: list[str], line: int) -> KeyPath:
        """The path of `keys` from `table` on; what is mentioned for the first time is noted."""
        path = table
        for key in keys:
            if path in self._array_sizes:
                path = (*path, self._array_sizes[path] - 1)  # means its last table
            path = (*path, key)
            self.lines.setdefault(path, line)
        return path

    def _keys(self) -> list[str]:
        keys = [self._key()]
        while self._text[self._position] == ".":
            self._position += 1
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        self._skip(_SPACES)
        raw = self._skip(_KEY)
        self._skip(_SPACES)
        # tomllib knows the escapes.
        return str(tomllib.loads(f"key = {raw}")["key"]) if raw[0] in "\"'" else raw

    def _value(self, path: KeyPath) -> None:
        match self._text[self._position]:
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case '"' | "'":
                self._skip(_STRING)
            case _:
                self._skip(_BARE_VALUE)

    def _array(self, path: KeyPath) -> None:
        index = 0
        self._step_over("[")
        while self._text[self._position] != "]":
            self.lines[(*path, index)] = self._line()
            self._value((*path, index))
            self._step_over(",")
            index += 1
        self._position += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._step_over("{")
        while self._text[self._position] != "}":
            self._pair(path)
            self._step_over(",")
        self._position += 1

    def _step_over(self, mark: str) -> None:
        """Go past blanks, `mark` if it is there (the last comma may be left out), and blanks."""
        self._skip(_BLANK)
        if self._text[self._position] == mark:
            self._position += 1
            self._skip(_BLANK)

    def _line(self) -> int:
        return bisect_right(self._newlines, self._position) + 1

    def _skip(self, pattern: re.Pattern[str]) -> str:
        """Step over what `pattern` matches here, and return it."""
        match = pattern.match(self._text, self._position)
        if match is None:  # cannot be in valid TOML; an endless loop would be worse than an error
            raise ValueError(f"no TOML that can be scanned at line {self._line()}")
        self._position = match.end()
        return match[0]

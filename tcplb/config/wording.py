"""How messages show what a user wrote: escaped, cut when long, with the nearest right word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 60  # characters of a user's value that a message repeats
_MOST_BITS = 196  # the largest whole number of about 60 digits


def printable(text: str) -> str:
    """`text` with every character that a terminal might obey or hide written as an escape."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def quote(text: str) -> str:
    """`text` in double quotes, escaped, and cut after `LONGEST` characters."""
    escaped = printable(text[:LONGEST].replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{escaped}..."' if len(text) > LONGEST else f'"{escaped}"'


def show(value: object) -> str:
    """A value from a TOML document or a flag, fit for one line of a message."""
    match value:
        case str():
            return quote(value)
        case bool():
            return "true" if value else "false"
        case int() if value.bit_length() > _MOST_BITS:
            return "an enormous number"
        case dict():
            return "a table"
        case list() | tuple():
            return "an array"
        case _:
            return str(value)


def closest(word: str, choices: Iterable[str]) -> str | None:
    """The one of `choices` that `word` may be a misspelling of, whatever its case."""
    by_folded = {choice.casefold(): choice for choice in choices}
    matches = difflib.get_close_matches(word[:LONGEST].casefold(), by_folded, n=1)
    return by_folded[matches[0]] if matches else None


def one_of(choices: Iterable[str], value: object) -> str:
    """``must be one of a, b (got "x"; did you mean "a"?)``."""
    known = list(choices)
    guess = closest(value, known) if isinstance(value, str) else None
    hint = f'; did you mean "{guess}"?' if guess else ""
    return f"must be one of {', '.join(known)} (got {show(value)}{hint})"

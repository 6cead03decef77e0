"""Figures and names as a person reads them: few digits, fitting units, thousands separators."""

from __future__ import annotations

import math

NOTHING = "–"
"""Stands for what was not measured."""

_TIMES = (("µs", 1e-3), ("ms", 1.0), ("s", 1e3))
"""Units and how many milliseconds they have."""
_SIZES = (("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12))
_NEXT_UNIT = 999.5
"""What would be rounded to 1000 is better said in the next unit."""


def significant(value: float, digits: int) -> float:
    """Return `value` rounded to so many significant digits."""
    return float(f"{value:.{digits}g}")


def count(value: float) -> str:
    """Return a whole number.

    >>> count(1234567)
    '1,234,567'
    """
    return f"{value:,.0f}"


def number(value: float) -> str:
    """Return a number in three digits, or in as many as it has before the point.

    >>> [number(value) for value in (12345.6, 9.999, 0.01234, 0)]
    ['12,346', '10.0', '0.0123', '0']
    """
    if not value:
        return "0"
    # Rounded first: 9.999 is 10.0, not 10.00.
    digits = max(2 - math.floor(math.log10(abs(significant(value, 3)))), 0)
    return f"{value:,.{digits}f}"


def time(ms: float | None) -> str:
    """Return milliseconds in µs, ms or s.

    >>> [time(ms) for ms in (0.0851, 12.34, 61_000, None)]
    ['85.1 µs', '12.3 ms', '61.0 s', '–']
    """
    if ms is None:
        return NOTHING
    unit, worth = time_unit(ms)
    return f"{number(ms / worth)} {unit}"


def time_unit(ms: float) -> tuple[str, float]:
    """Return the unit that fits so many milliseconds, and how many milliseconds it has."""
    return _unit(ms, _TIMES)


def seconds(value: float) -> str:
    """Return seconds as seconds, without a fraction that is 0.

    >>> [seconds(value) for value in (10.0, 3.456)]
    ['10 s', '3.46 s']
    """
    return f"{value:,.2f}".rstrip("0").rstrip(".") + " s"


def size(octets: float) -> str:
    """Return bytes in B, kB (1000 bytes), MB, GB or TB.

    >>> [size(octets) for octets in (64, 1_234_567)]
    ['64 B', '1.23 MB']
    """
    unit, worth = _unit(octets, _SIZES)
    return f"{count(octets)} B" if unit == "B" else f"{number(octets / worth)} {unit}"


def percent(share: float | None) -> str:
    """Return a share (0 to 1) in percent.

    >>> [percent(share) for share in (0.2512, 1.0, None)]
    ['25.1 %', '100 %', '–']
    """
    return NOTHING if share is None else f"{number(share * 100)} %"


def plural(value: int, singular: str, several: str = "") -> str:
    """Return so many of something.

    >>> [plural(value, "key") for value in (1, 1000)]
    ['1 key', '1,000 keys']
    """
    return f"{count(value)} {singular if value == 1 else several or singular + 's'}"


def printable(text: str, most: int | None = None) -> str:
    r"""Return text from outside, fit to be shown: at most so long, and control characters escaped.

    A backend chooses its own name, and must not move the cursor or turn the writing direction.

    >>> printable("a\x1b[31m"), printable("abcdef", 4)
    ('a\\x1b[31m', 'abc…')
    """
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
    return shown if most is None or len(shown) <= most else shown[: most - 1] + "…"


def _unit(value: float, units: tuple[tuple[str, float], ...]) -> tuple[str, float]:
    return next((unit for unit in units if value / unit[1] < _NEXT_UNIT), units[-1])

"""Figures, times and states of a running balancer as an operator reads them."""

from __future__ import annotations

import time

from tcplb.control.admin.models import BackendView
from tcplb.loadgen.reports.figures import NOTHING, count, size

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def age(seconds: float | None) -> str:
    """Return a duration by its two largest units.

    >>> [age(seconds) for seconds in (0.4, 61, 8000, 90_000, None)]
    ['0s', '1m 1s', '2h 13m', '1d 1h', '–']
    """
    if seconds is None:
        return NOTHING
    left = max(int(seconds), 0)
    parts = []
    for unit, worth in _UNITS:
        amount, left = divmod(left, worth)
        parts.append((amount, unit))
    first = next((place for place, (amount, _) in enumerate(parts) if amount), len(parts) - 1)
    shown = [f"{amount}{unit}" for amount, unit in parts[first : first + 2] if amount]
    return " ".join(shown) or "0s"


def clock(at: float | None) -> str:
    """Return a moment (seconds since the epoch) in local time."""
    if at is None:
        return NOTHING
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def limit(active: int, most: int) -> str:
    """Return how many there are of so many; `most` is 0 for no limit."""
    return f"{count(active)} of {count(most)}" if most else count(active)


def octets(value: int) -> str:
    """Return an amount of bytes."""
    return size(value)


def state(backend: BackendView) -> str:
    """Return the one word that says most of how a backend is."""
    if backend.mode != "enabled":
        return backend.mode
    if backend.passive == "ejected":
        return "ejected"
    if backend.checked == "down":
        return "down"
    if backend.passive == "on trial":
        return "on trial"
    return "up" if backend.usable else "out"

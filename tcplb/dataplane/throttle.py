"""Keeps a log line that could repeat a thousand times a second to one a second."""

from __future__ import annotations


class Throttle:
    """Lets something through at most once in `interval` seconds."""

    def __init__(self, interval: float = 1.0) -> None:
        self._interval = interval
        self._next = float("-inf")

    def allows(self, now: float) -> bool:
        """Whether it may happen at `now`; if so, that is noted."""
        if now < self._next:
            return False
        self._next = now + self._interval
        return True

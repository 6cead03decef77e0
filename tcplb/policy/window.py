"""How many of the latest connects have failed: a sliding window in constant memory."""

from __future__ import annotations

PARTS = 10
"""The window slides by a tenth of its length at a time."""


class FailureWindow:
    """Counts connects, and those that failed, of the last seconds. O(1) to add, O(`PARTS`) to sum.

    It looks back between 0.9 and 1 times its length.
    """

    __slots__ = ("_failed", "_numbers", "_part", "_total")

    def __init__(self, seconds: float) -> None:
        self._part = seconds / PARTS
        self._numbers = [-1] * PARTS
        """Which part of time each slot is about."""
        self._total = [0] * PARTS
        self._failed = [0] * PARTS

    def add(self, now: float, *, failed: bool) -> None:
        """Count a connect that ended `now`, in seconds of a clock that does not go back."""
        number = int(now / self._part)
        slot = number % PARTS
        if self._numbers[slot] != number:
            self._numbers[slot] = number
            self._total[slot] = self._failed[slot] = 0
        self._total[slot] += 1
        self._failed[slot] += failed

    def counts(self, now: float) -> tuple[int, int]:
        """Return how many have failed, and how many there were."""
        oldest = int(now / self._part) - PARTS + 1
        slots = [slot for slot, number in enumerate(self._numbers) if number >= oldest]
        return sum(self._failed[slot] for slot in slots), sum(self._total[slot] for slot in slots)

    def clear(self) -> None:
        """Forget all."""
        self._total = [0] * PARTS
        self._failed = [0] * PARTS

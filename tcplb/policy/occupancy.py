"""How many leases are out on each backend of a pool, perhaps counted by several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol


class Occupancy(Protocol):
    """How many leases are out on each backend of one pool, by the backend's position there.

    Several processes may share it; then the counts are those of all of them together.
    """

    def cover(self, positions: Iterable[int]) -> None:
        """Be ready to count at these positions; what is counted there already stays."""

    def try_enter(self, position: int, limit: int) -> bool:
        """Count one more lease, unless there are `limit` already; return whether it was counted.

        A `limit` of 0 is no limit.
        """

    def leave(self, position: int) -> None:
        """Count one lease less."""

    def active(self, position: int) -> int:
        """Return the number of leases out, of all processes that share the counts."""

    def counter(self, position: int) -> Callable[[], int]:
        """Return a function that returns `active(position)`, and is cheaper to call."""

    def total(self) -> int:
        """Return the number of leases out on all backends together, O(1)."""


class LocalOccupancy:
    """The occupancy of a pool that only this process uses."""

    def __init__(self, backends: int) -> None:
        self._active = [0] * backends
        self._total = 0

    def cover(self, positions: Iterable[int]) -> None:
        """Be ready to count at these positions; what is counted there already stays."""
        missing = max(positions, default=-1) + 1 - len(self._active)
        self._active += [0] * missing

    def try_enter(self, position: int, limit: int) -> bool:
        """Count one more lease, unless there are `limit` already (0: no limit)."""
        if 0 < limit <= self._active[position]:
            return False
        self._active[position] += 1
        self._total += 1
        return True

    def leave(self, position: int) -> None:
        """Count one lease less."""
        self._active[position] -= 1
        self._total -= 1

    def active(self, position: int) -> int:
        """Return the number of leases out."""
        return self._active[position]

    def counter(self, position: int) -> Callable[[], int]:
        """Return a function that returns the number of leases out at `position`."""
        return partial(self._active.__getitem__, position)

    def total(self) -> int:
        """Return the number of leases out on all backends together."""
        return self._total

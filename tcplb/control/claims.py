"""Counts with a limit that holds over all workers, without locks.

**A limit is never exceeded.** A worker first adds its claim to its own cell, then lets that store
reach the other processes (a full memory fence), then sums the cells of all; if the sum is over the
limit it takes the claim back and is refused. Suppose more claims than the limit were granted and
held at one moment. Of those, take the one whose store came last: when it summed, after its fence,
the stores of all the others had been made and not been undone, so its sum was over the limit and
it was refused: a contradiction.

The price: two that claim the last place at the same instant may both be refused. Whoever is refused
tries elsewhere or later, so a place is not lost by that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from tcplb.control.scoreboard import Scoreboard

_fence_lock = threading.Lock()
_fence_lock.acquire()


def _fence() -> None:
    """Let no load from here on overtake the stores before.

    Python has no such instruction. But giving a lock back and taking it are atomic operations: on
    x86 each is a locked instruction, which is a full fence; on ARM the first is a store-release and
    the second a load-acquire, which may not pass each other, so that nothing passes the pair. The
    lock is this process's own and nobody waits for it: 0.1 µs.
    """
    _fence_lock.release()
    _fence_lock.acquire()


class SharedCount:
    """One number that each worker holds a part of, in its own cell of a column."""

    __slots__ = ("_column", "_slot")

    def __init__(self, column: memoryview, slot: int) -> None:
        self._column = column
        self._slot = slot

    def try_add(self, limit: int) -> bool:
        """Count one more, unless that makes more than `limit` over all workers; 0 is no limit."""
        column, slot = self._column, self._slot
        column[slot] += 1
        if not limit:
            return True
        _fence()
        if sum(column) <= limit:
            return True
        column[slot] -= 1
        return False

    def subtract(self) -> None:
        """Count one less."""
        self._column[self._slot] -= 1

    def total(self) -> int:
        """Return the number over all workers."""
        return sum(self._column)


class SharedOccupancy:
    """How many connections each backend of a pool has, over all workers.

    This is `policy.occupancy.Occupancy` for one pool and worker.
    """

    def __init__(
        self, board: Scoreboard, slot: int, first: int, backends: int, pool: int | None = None
    ) -> None:
        """Count for the `backends` positions of `board` from `first` on, as worker `slot`.

        `pool` is where the board has the total of all of them, if that is wanted: to count it costs
        each connection some time.
        """
        positions = range(first, first + backends)
        self._counts = [SharedCount(board.active(position), slot) for position in positions]
        self._total = None if pool is None else SharedCount(board.pool_active(pool), slot)

    def try_enter(self, position: int, limit: int) -> bool:
        """Count one more at `position`, unless it has `limit` already; 0 is no limit."""
        if not self._counts[position].try_add(limit):
            return False
        if self._total is not None:
            self._total.try_add(0)
        return True

    def leave(self, position: int) -> None:
        """Count one less at `position`."""
        self._counts[position].subtract()
        if self._total is not None:
            self._total.subtract()

    def active(self, position: int) -> int:
        """Return how many there are at `position`, over all workers."""
        return self._counts[position].total()

    def counter(self, position: int) -> Callable[[], int]:
        """Return a function that returns `active(position)`."""
        return self._counts[position].total

    def total(self) -> int:
        """Return how many there are over all positions: O(1) only if the total is counted."""
        if self._total is not None:
            return self._total.total()
        return sum(count.total() for count in self._counts)


class SharedSeats:
    """The places of a `max_connections`, over all workers; see `dataplane.gate.Seats`."""

    def __init__(self, column: memoryview, slot: int, limit: int) -> None:
        """Count in a column of the scoreboard: `seats`, or a listener's."""
        self._count = SharedCount(column, slot)
        self._limit = limit

    def try_take(self) -> bool:
        """Take a place, if one of the `limit` is free."""
        return self._count.try_add(self._limit)

    def give_back(self) -> None:
        """Give a place back."""
        self._count.subtract()

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
from collections.abc import Callable, Iterable

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

    @property
    def own(self) -> int:
        """The part of this worker."""
        return self._column[self._slot]

    def add(self, number: int) -> None:
        """Count so many more, whatever the limit."""
        self._column[self._slot] += number

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

    def __init__(self, board: Scoreboard, slot: int, pool: int | None = None) -> None:
        """Count on `board` as worker `slot`, at the positions that the board has.

        `pool` is where the board has the total of all of them, if that is wanted: to count it costs
        each connection some time.
        """
        self._board = board
        self._slot = slot
        self._counts: dict[int, SharedCount] = {}
        self._total: SharedCount | None = None
        self.count_total(pool)

    def count_total(self, pool: int | None) -> None:
        """Begin to count the total of all positions as that of `pool`, or end it with None."""
        inside = sum(count.own for count in self._counts.values())
        if pool is None and self._total is not None:
            self._total.add(-inside)
            self._total = None
        elif pool is not None and self._total is None:
            self._total = SharedCount(self._board.pool_active(pool), self._slot)
            self._total.add(inside)

    def forget(self, position: int) -> None:
        """Have nothing to do any more with a position that nobody is at."""
        self._counts.pop(position, None)

    def cover(self, positions: Iterable[int]) -> None:
        """Be ready to count at these positions; what is counted there already stays."""
        for position in positions:
            if position not in self._counts:
                self._counts[position] = SharedCount(self._board.active(position), self._slot)

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
        return sum(count.total() for count in self._counts.values())


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

    def adopt(self, places: int) -> None:
        """Count so many as taken, be there room or not."""
        self._count.add(places)

"""What every worker counts, in memory that all processes share.

A table of plain 64-bit cells: one row a worker slot, and a last one for the totals of workers that
are gone. Each cell has one writer, so there are no locks; anyone may read, and a sum over rows is
what holds for the whole balancer.

::

    heartbeat | lag | seats | one for each of `Counters`
      | a listener: seats, active | … | a rate: started, base | …
      | a pool: active, `QueueCounters` | … | a backend: active | … | a route: `RouteCounters` | …

`seats`, `started` and `active` carry limits (`claims.py`, `shared_rate.py`). They and what is
counted by route and by queue are written at once; the rest are copies of the worker's own, at most
`PUBLISH_INTERVAL` seconds old.

There is room for far more than is configured at the start, because a reload may add to it. Memory
that nobody has written to costs nothing. What has which cells is for `numbering.py` to say.
"""

from __future__ import annotations

import mmap
import os
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import accumulate
from operator import attrgetter

from tcplb.control.shared_file import shared_file
from tcplb.dataplane.counters import Counters, QueueCounters, RouteCounters

PUBLISH_INTERVAL = 0.25
"""Seconds between two copies of a worker's totals."""

_CELL_BYTES = 8
_CELLS_PER_CACHE_LINE = 8

_HEARTBEAT = 0
_LAG = 1
_SEATS = 2
_COUNTERS = 3
_COUNTER_NAMES = tuple(field.name for field in fields(Counters))
_ACTIVE = _COUNTERS + _COUNTER_NAMES.index("active")
_SECTIONS = _COUNTERS + len(_COUNTER_NAMES)
_counts_of = attrgetter(*_COUNTER_NAMES)

BACKEND, POOL, LISTENER, RATE, ROUTE = range(5)
"""The kinds of things that have cells, in the order of `Layout`."""
_WIDTHS = (1, 1 + QueueCounters.WIDTH, 2, 2, RouteCounters.WIDTH)
_TOTALS = {POOL: range(2, _WIDTHS[POOL]), ROUTE: range(RouteCounters.WIDTH)}
"""Which cells of each kind are totals, that are kept when their worker is gone."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How many of each kind a row has cells for."""

    backends: int
    """Of all pools together."""
    pools: int = 1
    listeners: int = 1
    rates: int = 1
    routes: int = 1

    @property
    def capacities(self) -> tuple[int, ...]:
        """All of them, in this order."""
        return (self.backends, self.pools, self.listeners, self.rates, self.routes)

    @property
    def starts(self) -> tuple[int, ...]:
        """The cell where those of each kind begin."""
        sizes = [n * width for n, width in zip(self.capacities, _WIDTHS, strict=True)]
        return tuple(accumulate(sizes[:-1], initial=_SECTIONS))

    @property
    def width(self) -> int:
        """The cells of a row: whole cache lines, so that two workers never write to one."""
        cells = self.starts[ROUTE] + self.routes * RouteCounters.WIDTH
        return -(-cells // _CELLS_PER_CACHE_LINE) * _CELLS_PER_CACHE_LINE

    def size(self, slots: int) -> int:
        """Return the bytes of a table for `slots` workers."""
        return (slots + 1) * self.width * _CELL_BYTES


class Scoreboard:
    """The table, mapped into this process."""

    def __init__(self, descriptor: int, slots: int, layout: Layout) -> None:
        """Map the table that `create` has made, in this process or in its parent."""
        self.descriptor = descriptor
        self.slots = slots
        self._width = layout.width
        self._starts = layout.starts
        self._rows = memoryview(mmap.mmap(descriptor, layout.size(slots))).cast("q")

    @classmethod
    def create(cls, slots: int, layout: Layout) -> Scoreboard:
        """Make an empty table for `slots` workers."""
        return cls(shared_file("tcplb scoreboard", layout.size(slots)), slots, layout)

    def close(self) -> None:
        """Close the descriptor; what is mapped stays readable."""
        os.close(self.descriptor)

    # -- columns: one cell of each worker, for claims and sums --------------------------------

    def seats(self) -> memoryview:
        """Return the cells with the connections that each worker has let in."""
        return self._column(_SEATS)

    def active(self, backend: int) -> memoryview:
        """Return the cells with the connections that each worker has to that backend."""
        return self._column(self._start(BACKEND, backend))

    def pool_active(self, pool: int) -> memoryview:
        """Return the same of all backends of that pool."""
        return self._column(self._start(POOL, pool))

    def listener_seats(self, listener: int) -> memoryview:
        """Return the cells with the connections that each worker has let in at that listener."""
        return self._column(self._start(LISTENER, listener))

    def rate_started(self, rate: int) -> memoryview:
        """Return the cells with how many connections each worker has ever let in by that rate."""
        return self._column(self._start(RATE, rate))

    def rate_base(self, rate: int) -> memoryview:
        """Return the cells with what each worker knows of that rate; see `shared_rate`."""
        return self._column(self._start(RATE, rate) + 1)

    # -- one worker's row -----------------------------------------------------------------------

    def route(self, slot: int, number: int) -> RouteCounters:
        """Return what a worker counts of a route."""
        return RouteCounters(self._block(slot, ROUTE, number))

    def queue(self, slot: int, pool: int) -> QueueCounters:
        """Return what a worker counts of the queue of a pool."""
        return QueueCounters(self._block(slot, POOL, pool)[1:])

    def publish(
        self, slot: int, now: float, counters: Counters, active: Iterable[tuple[int, int]] = ()
    ) -> None:
        """Copy a worker's totals into its row; `now` is its monotonic clock, in seconds.

        `active` has the numbers of the listeners, and how many sessions each has open.
        """
        row = self._row(slot)
        row[_HEARTBEAT] = int(now * 1000)
        row[_COUNTERS:_SECTIONS] = array("q", _counts_of(counters))
        for listener, sessions in active:
            row[self._start(LISTENER, listener) + 1] = sessions

    def set_lag(self, slot: int, seconds: float) -> None:
        """Say how late the worker's loop was."""
        self._row(slot)[_LAG] = int(seconds * 1e6)

    def lag(self, slot: int) -> float:
        """Return how late the worker's loop was lately, in seconds."""
        return self._row(slot)[_LAG] / 1e6

    def heartbeat(self, slot: int) -> float:
        """Return when the worker last published, in seconds of the monotonic clock; 0 for never."""
        return self._row(slot)[_HEARTBEAT] / 1000

    def sessions(self, slot: int) -> int:
        """Return how many sessions the worker had open when it last published."""
        return self._row(slot)[_ACTIVE]

    def retire(self, slot: int, tops: Iterable[int]) -> None:
        """Keep the totals of a worker that is gone, and empty its row for the next one.

        `tops` has how many numbers of each kind are in use at most, in the order of `Layout`.
        """
        row, retired = self._row(slot), self._row(self.slots)
        for cell in range(_COUNTERS, _SECTIONS):
            if cell != _ACTIVE:
                retired[cell] += row[cell]
        row[:_SECTIONS] = array("q", bytes(_SECTIONS * _CELL_BYTES))
        for kind, top in enumerate(tops):
            for number in range(top):
                self._retire_block(slot, kind, number)

    def _retire_block(self, slot: int, kind: int, number: int) -> None:
        block = self._block(slot, kind, number)
        if not any(block):
            return
        retired = self._block(self.slots, kind, number)
        for cell in _TOTALS.get(kind, ()):
            retired[cell] += block[cell]
        block[:] = _zeros(len(block))

    def clear(self, kind: int, number: int) -> None:
        """Set all cells of something to 0, in all rows: its number is for something else now."""
        for slot in range(self.slots + 1):
            block = self._block(slot, kind, number)
            block[:] = _zeros(len(block))

    # -- sums ---------------------------------------------------------------------------------

    def totals(self) -> Counters:
        """Return the sums over all workers, those that are gone included."""
        return Counters(*(self._sum(_COUNTERS + cell) for cell in range(len(_COUNTER_NAMES))))

    def route_totals(self, number: int) -> RouteCounters:
        """Return the same of one route."""
        return RouteCounters(self._block_sums(ROUTE, number))

    def queue_totals(self, pool: int) -> QueueCounters:
        """Return the same of the queue of one pool."""
        return QueueCounters(self._block_sums(POOL, pool)[1:])

    def listener_active(self, listener: int) -> int:
        """Return how many sessions of that listener were open when the workers last published."""
        return self._sum(self._start(LISTENER, listener) + 1)

    def _block_sums(self, kind: int, number: int) -> list[int]:
        blocks = (self._block(slot, kind, number) for slot in range(self.slots + 1))
        return [sum(cells) for cells in zip(*blocks, strict=True)]

    def _sum(self, cell: int) -> int:
        return sum(self._column(cell))

    # -- cells ----------------------------------------------------------------------------------

    def _start(self, kind: int, number: int) -> int:
        return self._starts[kind] + number * _WIDTHS[kind]

    def _block(self, slot: int, kind: int, number: int) -> memoryview:
        start = slot * self._width + self._start(kind, number)
        return self._rows[start : start + _WIDTHS[kind]]

    def _column(self, cell: int) -> memoryview:
        return self._rows[cell :: self._width]

    def _row(self, number: int) -> memoryview:
        return self._rows[number * self._width : (number + 1) * self._width]


def _zeros(cells: int) -> array[int]:
    return array("q", bytes(cells * _CELL_BYTES))

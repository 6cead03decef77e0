"""What every worker counts, in memory that all processes share.

A table of plain 64-bit cells: one row a worker slot, and a last one for the totals of workers that
are gone. Each cell has one writer, so there are no locks; anyone may read, and a sum over rows is
what holds for the whole balancer.

::

    heartbeat | seats | one for each of `Counters` | a backend: active, `BackendCounters` | …

`seats` and a backend's `active` carry limits and are written at once (`claims.py`). The rest are
copies of the worker's own counters, at most `PUBLISH_INTERVAL` seconds old: counting costs the
sessions nothing more than it did.
"""

from __future__ import annotations

import mmap
import os
from array import array
from collections.abc import Sequence
from dataclasses import astuple, fields

from tcplb.control.shared_file import shared_file
from tcplb.dataplane.counters import BackendCounters, Counters

PUBLISH_INTERVAL = 0.25
"""Seconds between two copies of a worker's totals."""

_CELL_BYTES = 8
_CELLS_PER_CACHE_LINE = 8

_HEARTBEAT = 0
_SEATS = 1
_COUNTERS = 2
_COUNTER_NAMES = tuple(field.name for field in fields(Counters))
_ACTIVE = _COUNTERS + _COUNTER_NAMES.index("active")
_BACKENDS = _COUNTERS + len(_COUNTER_NAMES)
_BACKEND_CELLS = 1 + len(fields(BackendCounters))


class Scoreboard:
    """The table, mapped into this process."""

    def __init__(self, descriptor: int, slots: int, backends: int) -> None:
        """Map the table that `create` has made, in this process or in its parent."""
        self.descriptor = descriptor
        self.slots = slots
        self.backends = backends
        self._width = _width(backends)
        size = _size(slots, backends)
        self._cells = memoryview(mmap.mmap(descriptor, size)).cast("q")

    @classmethod
    def create(cls, slots: int, backends: int) -> Scoreboard:
        """Make an empty table for `slots` workers and the backends of all pools together."""
        return cls(shared_file("tcplb scoreboard", _size(slots, backends)), slots, backends)

    def close(self) -> None:
        """Close the descriptor; what is mapped stays readable."""
        os.close(self.descriptor)

    # -- columns: one cell of each worker, for claims and sums --------------------------------

    def seats(self) -> memoryview:
        """Return the cells with the connections that each worker has let in."""
        return self._column(_SEATS)

    def active(self, position: int) -> memoryview:
        """Return the cells with the connections that each worker has to the backend there."""
        return self._column(_BACKENDS + position * _BACKEND_CELLS)

    # -- a worker's totals ----------------------------------------------------------------------

    def publish(
        self, slot: int, now: float, counters: Counters, backends: Sequence[BackendCounters]
    ) -> None:
        """Copy a worker's totals into its row; `now` is its monotonic clock, in seconds."""
        row = self._row(slot)
        row[_HEARTBEAT] = int(now * 1000)
        row[_COUNTERS:_BACKENDS] = array("q", astuple(counters))
        for position, totals in enumerate(backends):
            start = _BACKENDS + position * _BACKEND_CELLS
            row[start + 1 : start + _BACKEND_CELLS] = array("q", astuple(totals))

    def heartbeat(self, slot: int) -> float:
        """Return when the worker last published, in seconds of the monotonic clock; 0 for never."""
        return self._row(slot)[_HEARTBEAT] / 1000

    def sessions(self, slot: int) -> int:
        """Return how many sessions the worker had open when it last published."""
        return self._row(slot)[_ACTIVE]

    def retire(self, slot: int) -> None:
        """Keep the totals of a worker that is gone, and empty its row for the next one."""
        row, retired = self._row(slot), self._row(self.slots)
        gauges = {_HEARTBEAT, _SEATS, _ACTIVE, *range(_BACKENDS, self._width, _BACKEND_CELLS)}
        for cell in range(self._width):
            if cell not in gauges:
                retired[cell] += row[cell]
            row[cell] = 0

    # -- sums ---------------------------------------------------------------------------------

    def totals(self) -> Counters:
        """Return the sums over all workers, those that are gone included."""
        return Counters(*(self._sum(_COUNTERS + cell) for cell in range(len(_COUNTER_NAMES))))

    def backend_totals(self, position: int) -> BackendCounters:
        """Return the same of one backend."""
        start = _BACKENDS + position * _BACKEND_CELLS
        return BackendCounters(*(self._sum(start + cell) for cell in range(1, _BACKEND_CELLS)))

    def _sum(self, cell: int) -> int:
        return sum(self._column(cell))

    def _column(self, cell: int) -> memoryview:
        return self._cells[cell :: self._width]

    def _row(self, number: int) -> memoryview:
        return self._cells[number * self._width : (number + 1) * self._width]


def _width(backends: int) -> int:
    """Return the cells of a row: whole cache lines, so that two workers never write to one."""
    cells = _BACKENDS + backends * _BACKEND_CELLS
    return -(-cells // _CELLS_PER_CACHE_LINE) * _CELLS_PER_CACHE_LINE


def _size(slots: int, backends: int) -> int:
    return (slots + 1) * _width(backends) * _CELL_BYTES

"""What every worker counts, in memory that all processes share.

A table of plain 64-bit cells: one row a worker slot, and a last one for the totals of workers that
are gone. Each cell has one writer, so there are no locks; anyone may read, and a sum over rows is
what holds for the whole balancer.

::

    heartbeat | seats | one for each of `Counters` | a listener: seats, started, rate base | …
              | a pool: active | … | a backend: active, `BackendCounters` | …

`seats`, `started` and `active` carry limits and are written at once (`claims.py`,
`shared_rate.py`). The rest are copies of the worker's own counters, at most `PUBLISH_INTERVAL`
seconds old: counting costs the sessions nothing more than it did.

Behind the rows are the latest changes in what is thought of backends (`events.py`). The supervisor
alone writes them.
"""

from __future__ import annotations

import mmap
import os
from array import array
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

from tcplb.control.events import EVENT_CELLS
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
_LISTENERS = _COUNTERS + len(_COUNTER_NAMES)
_LISTENER_CELLS = 3
_POOL_CELLS = 1
_BACKEND_CELLS = 1 + len(fields(BackendCounters))


@dataclass(frozen=True, slots=True)
class Layout:
    """What a row has cells for."""

    backends: int
    """Of all pools together."""
    pools: int = 1
    listeners: int = 1

    @property
    def first_pool(self) -> int:
        """The cell where those of the pools begin."""
        return _LISTENERS + self.listeners * _LISTENER_CELLS

    @property
    def first_backend(self) -> int:
        """The cell where those of the backends begin."""
        return self.first_pool + self.pools * _POOL_CELLS

    @property
    def width(self) -> int:
        """The cells of a row: whole cache lines, so that two workers never write to one."""
        cells = self.first_backend + self.backends * _BACKEND_CELLS
        return -(-cells // _CELLS_PER_CACHE_LINE) * _CELLS_PER_CACHE_LINE

    def size(self, slots: int) -> int:
        """Return the bytes of a table for `slots` workers."""
        return ((slots + 1) * self.width + EVENT_CELLS) * _CELL_BYTES


class Scoreboard:
    """The table, mapped into this process."""

    def __init__(self, descriptor: int, slots: int, layout: Layout) -> None:
        """Map the table that `create` has made, in this process or in its parent."""
        self.descriptor = descriptor
        self.slots = slots
        self._layout = layout
        self._width = layout.width
        self._backends = layout.first_backend
        self._cells = memoryview(mmap.mmap(descriptor, layout.size(slots))).cast("q")
        self._rows = self._cells[: (slots + 1) * layout.width]

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

    def active(self, position: int) -> memoryview:
        """Return the cells with the connections that each worker has to the backend there."""
        return self._column(self._backends + position * _BACKEND_CELLS)

    def pool_active(self, pool: int) -> memoryview:
        """Return the same of all backends of the pool at that place in the plan."""
        return self._column(self._layout.first_pool + pool * _POOL_CELLS)

    def listener_seats(self, listener: int) -> memoryview:
        """Return the cells with the connections that each worker has let in at that listener."""
        return self._column(_LISTENERS + listener * _LISTENER_CELLS)

    def listener_started(self, listener: int) -> memoryview:
        """Return the cells with how many connections each worker has ever let in there."""
        return self._column(_LISTENERS + listener * _LISTENER_CELLS + 1)

    def listener_rate_base(self, listener: int) -> memoryview:
        """Return the cells with what each worker knows of the rate there; see `shared_rate`."""
        return self._column(_LISTENERS + listener * _LISTENER_CELLS + 2)

    def events(self) -> memoryview:
        """Return the cells of `events.Events`."""
        return self._cells[len(self._rows) :]

    # -- a worker's totals ----------------------------------------------------------------------

    def publish(
        self, slot: int, now: float, counters: Counters, backends: Sequence[BackendCounters]
    ) -> None:
        """Copy a worker's totals into its row; `now` is its monotonic clock, in seconds."""
        row = self._row(slot)
        row[_HEARTBEAT] = int(now * 1000)
        row[_COUNTERS:_LISTENERS] = array("q", astuple(counters))
        for position, totals in enumerate(backends):
            start = self._backends + position * _BACKEND_CELLS
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
        not_totals = {
            _HEARTBEAT,
            _SEATS,
            _ACTIVE,
            *range(_LISTENERS, self._backends),
            *range(self._backends, self._width, _BACKEND_CELLS),
        }
        for cell in range(self._width):
            if cell not in not_totals:
                retired[cell] += row[cell]
            row[cell] = 0

    # -- sums ---------------------------------------------------------------------------------

    def totals(self) -> Counters:
        """Return the sums over all workers, those that are gone included."""
        return Counters(*(self._sum(_COUNTERS + cell) for cell in range(len(_COUNTER_NAMES))))

    def backend_totals(self, position: int) -> BackendCounters:
        """Return the same of one backend."""
        start = self._backends + position * _BACKEND_CELLS
        return BackendCounters(*(self._sum(start + cell) for cell in range(1, _BACKEND_CELLS)))

    def _sum(self, cell: int) -> int:
        return sum(self._column(cell))

    def _column(self, cell: int) -> memoryview:
        return self._rows[cell :: self._width]

    def _row(self, number: int) -> memoryview:
        return self._rows[number * self._width : (number + 1) * self._width]

"""Least connections: the backend with the fewest connections for its weight comes first.

Source: HAProxy's ``leastconn`` and nginx's ``least_conn``. Backends that are equally busy take
turns in proportion to their weights, by stride scheduling (Waldspurger and Weihl, MIT/LCS/TM-528,
1995): the one with the lowest turn goes, and its next turn is 1/weight later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush, heapreplace

from tcplb.policy.backend import Backend
from tcplb.policy.occupancy import Occupancy

LOOKS = 8
"""Backends that each order looks at, in rotation, to see whether they have become less busy."""

_Entry = tuple[float, float, int]
"""A backend in the heap: connections / weight when last looked at, turn, position."""


class LeastConnections:
    """Yields backends by connections / weight, the least busy one first.

    The counts change between two orders, here and in other processes, and to read them all would
    take O(n). So a heap keeps each backend by how busy it was when it was last looked at:

    - The top of the heap is looked at again before it is yielded. If it has become busier it sinks
      to its place, so nobody is yielded for being less busy than it is.
    - Each order begins with a look at the next `LOOKS` backends. If one has become less busy it
      rises.

    So up to `LOOKS` backends the order is exact, whoever changed the counts. Of more, one that has
    become less busy may be passed by during n / `LOOKS` orders. The first backend costs O(log n).
    """

    keyed = False

    def __init__(self, backends: Sequence[Backend], occupancy: Occupancy) -> None:
        """Order `backends`, whose positions here are those in `occupancy`."""
        self._backends = tuple(backends)
        self._weights = [backend.weight for backend in backends]
        self._active = occupancy.active
        self._positions = [i for i, weight in enumerate(self._weights) if weight > 0]
        self._next_look = 0
        self._last_turn = 0.0
        # From half a stride on: from 0, a weight of 5 would begin with 5 turns in a row.
        self._entries: dict[int, _Entry] = {
            position: (0.0, 0.5 / self._weights[position], position) for position in self._positions
        }
        self._heap: list[_Entry] = []
        self._sweep_out()

    def order(self, key: bytes = b"") -> Iterator[Backend]:
        """Yield each backend once. One order has to end, or be given up, before the next begins.

        The last one yielded has had its turn; whoever the caller did not take keeps it.
        """
        self._look_round()
        walked: list[_Entry] = []
        taken = -1
        try:
            while entry := self._pop_least():
                walked.append(entry)
                yield self._backends[entry[2]]
            # Nobody suited. Whoever settles for the first one after all must not always settle for
            # the same.
            taken = 0
        finally:
            self._put_back(walked, taken)

    def shares(self) -> Mapping[str, float]:
        """Return weight / total weight by name: what they get if all connections are alike."""
        usable = [self._backends[position] for position in self._positions]
        total = sum(backend.weight for backend in usable)
        return {backend.name: backend.weight / total for backend in usable}

    def _look_round(self) -> None:
        """Let those of the next `LOOKS` backends rise that have become less busy."""
        start = self._next_look
        end = start + LOOKS
        self._next_look = end if end < len(self._positions) else 0
        for position in self._positions[start:end]:
            known, turn, _ = self._entries[position]
            # Floats tell two such quotients apart: they differ by 1/256² at least, or not at all.
            load = self._active(position) / self._weights[position]
            if load < known:
                self._put((load, turn, position))
        if len(self._heap) > 2 * len(self._entries):
            self._sweep_out()

    def _put(self, entry: _Entry) -> None:
        """Let `entry` hold for its backend; an earlier one that is in the heap is stale."""
        self._entries[entry[2]] = entry
        heappush(self._heap, entry)

    def _sweep_out(self) -> None:
        """Make the heap anew, without stale entries."""
        self._heap = list(self._entries.values())
        heapify(self._heap)

    def _pop_least(self) -> _Entry | None:
        """Take the least busy backend out of the heap, after a look at how busy it really is."""
        heap = self._heap
        while heap:
            entry = heap[0]
            known, turn, position = entry
            if entry is not self._entries[position]:
                heappop(heap)
                continue
            load = self._active(position) / self._weights[position]
            if load <= known:
                return heappop(heap)
            self._entries[position] = busier = (load, turn, position)
            heapreplace(heap, busier)
        return None

    def _put_back(self, walked: list[_Entry], taken: int) -> None:
        """Put what an order has popped back into the heap; the one at `taken` has had its turn."""
        if not walked:
            return
        load, turn, position = walked[taken]
        # A backend that was busy for long has not saved up turns: it goes on from the last one
        # taken (start-time fair queueing: Goyal, Vin and Cheng, SIGCOMM 1996).
        self._last_turn = max(self._last_turn, turn)
        walked[taken] = (load, self._last_turn + 1 / self._weights[position], position)
        for entry in walked:
            self._put(entry)

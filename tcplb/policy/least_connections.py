"""Least connections: the backend with the fewest connections for its weight comes first.

Source: HAProxy's ``leastconn`` and nginx's ``least_conn``. Backends that are equally busy take
turns in proportion to their weights, by stride scheduling (Waldspurger and Weihl, MIT/LCS/TM-528,
1995): the one with the lowest turn goes, and its next turn is 1/weight later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from itertools import cycle

from tcplb.policy.backend import Backend
from tcplb.policy.load import Load, shares_by_weight

EXACT = 8
"""Up to so many backends, each order looks at all of them."""
LOOKS = 4
"""Of more, so many in rotation, to see whether they have become less busy; each costs 0.09 µs."""

_Entry = tuple[float, float, int]
"""A backend in the heap: connections / weight when last looked at, turn, index."""


class LeastConnections:
    """Yields backends by connections / effective weight, the least busy one first.

    The counts change between two orders, here and in other processes, and so do the weights; to
    read them all would take O(n). So a heap keeps each backend by how busy it was when it was last
    looked at:

    - The top of the heap is looked at again before it is yielded. If it has become busier it sinks
      to its place, so nobody is yielded for being less busy than it is.
    - Each order begins with a look at all of a few backends, or the next `LOOKS` of many. If one
      has become less busy it rises.

    So up to `EXACT` backends the order is exact, whoever changed the counts. Of more, one that has
    become less busy, or whose weight has risen, may be passed by during n / `LOOKS` orders. The
    first backend costs O(log n) (docs/performance.md).
    """

    keyed = False
    by_load = True

    def __init__(self, backends: Sequence[Backend], load: Load) -> None:
        self._backends = tuple(backends)
        self._counts = load.counts
        self._weights = load.weights
        self._seen_weights = list(load.weights)
        self._seen_counts = [0] * len(backends)
        indexes = [index for index, backend in enumerate(backends) if backend.weight > 0]
        looks = [(load.counts[index], index) for index in indexes]
        each = EXACT if len(looks) <= EXACT else LOOKS
        rounds = [looks[start : start + each] for start in range(0, len(looks), each)]
        self._first_round = rounds[0] if rounds else []
        self._rounds = cycle(rounds)
        self._last_turn = 0.0
        # From half a stride on: from 0, a weight of 5 would begin with 5 turns in a row.
        self._entries: dict[int, _Entry] = {
            index: (0.0, 0.5 / load.weights[index], index) for index in indexes
        }
        self._heap: list[_Entry] = []
        self._sweep_out()

    def order(self, key: bytes = b"", now: float = 0.0) -> Iterator[Backend]:
        """Yield each backend once. One order has to end, or be given up, before the next begins.

        The last one yielded has had its turn; whoever the caller did not take keeps it.
        """
        if not self._entries:
            return
        self._look_round()
        first = self._find_least()
        # Nearly always the only one that is asked for. It stays in the heap and has its turn at
        # once, so that nothing is left to do when the caller drops this generator.
        last_turn = self._last_turn
        heapreplace(self._heap, self._after_turn(first))
        yield self._backends[first[2]]
        self._last_turn = last_turn
        yield from self._walk_on(first)

    def shares(self) -> Mapping[str, float]:
        """Return weight / total weight by name: what they get if all connections are alike."""
        return shares_by_weight(self._backends)

    def _look_round(self) -> None:
        """Let those of the backends whose turn it is to be looked at rise that are less busy."""
        looks, seen = next(self._rounds), self._seen_counts
        if looks is self._first_round and self._weights != self._seen_weights:
            self._look_at_weights()
        for count, index in looks:
            if count() < seen[index]:
                self._look_again(index)

    def _look_again(self, index: int) -> None:
        self._seen_counts[index] = count = self._counts[index]()
        self._put((count / self._weights[index], self._entries[index][1], index))
        # Not while a walk keeps entries out of the heap, or they would be in it twice.
        if len(self._heap) > 2 * len(self._entries):
            self._sweep_out()

    def _look_at_weights(self) -> None:
        """Let those rise or sink whose weight has changed, and their turns come sooner or later.

        Or a backend that had a turn when its weight was 1/100 would next have one 100 turns later,
        even if it is back at its full weight by then.
        """
        seen, weights = self._seen_weights, self._weights
        for index, (_, turn, _) in list(self._entries.items()):
            if seen[index] != weights[index]:
                wait = max(turn - self._last_turn, 0.0) * seen[index] / weights[index]
                self._entries[index] = (0.0, self._last_turn + wait, index)
                self._look_again(index)
        seen[:] = weights

    def _put(self, entry: _Entry) -> None:
        """Let `entry` hold for its backend; an earlier one that is in the heap is stale."""
        self._entries[entry[2]] = entry
        heappush(self._heap, entry)

    def _sweep_out(self) -> None:
        """Make the heap anew, without stale entries."""
        self._heap[:] = self._entries.values()
        heapify(self._heap)

    def _find_least(self) -> _Entry:
        """Bring the least busy one to the top of the heap, after a look at how busy it really is.

        The heap must not be empty of entries that hold.
        """
        heap, entries = self._heap, self._entries
        while True:
            entry = heap[0]
            known, turn, index = entry
            if entry is not entries[index]:
                heappop(heap)
                continue
            count = self._counts[index]()
            load = count / self._weights[index]
            if load <= known:
                return entry
            self._seen_counts[index] = count
            entries[index] = busier = (load, turn, index)
            heapreplace(heap, busier)

    def _after_turn(self, entry: _Entry) -> _Entry:
        """Return the entry of a backend that has had its turn, which then holds for it."""
        load, turn, index = entry
        # A backend that was busy for long has not saved up turns: it goes on from the last one
        # taken (start-time fair queueing: Goyal, Vin and Cheng, SIGCOMM 1996).
        if turn < self._last_turn:  # noqa: PLR1730 - max() would take 80 ns
            turn = self._last_turn
        self._last_turn = turn
        self._entries[index] = after = (load, turn + 1 / self._weights[index], index)
        return after

    def _walk_on(self, first: _Entry) -> Iterator[Backend]:
        """Yield the others: `first` was not taken, and keeps its turn."""
        # Out of the heap goes what has been yielded; what it holds for `first` is stale by this.
        self._entries[first[2]] = first
        walked, taken = [first], -1
        try:
            for _ in range(len(self._entries) - 1):
                entry = self._find_least()
                heappop(self._heap)
                walked.append(entry)
                yield self._backends[entry[2]]
            # Nobody suited. Whoever settles for the first one after all must not always settle for
            # the same.
            taken = 0
        finally:
            walked[taken] = self._after_turn(walked[taken])
            for entry in walked:
                self._put(entry)

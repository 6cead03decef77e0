"""Random choice in proportion to weights.

Sources: a draw by bisecting the running total of the weights is inversion (Devroye, "Non-Uniform
Random Variate Generation", 1986); the order of those that were not drawn is by exponential keys, as
in Efraimidis and Spirakis, "Weighted random sampling with a reservoir", IPL 2006.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from random import Random

from tcplb.policy.backend import Backend
from tcplb.policy.load import shares_by_weight


class WeightedRandom:
    """Yields backends in a random order; at every step, each that is left has odds by its weight.

    The first one costs O(log n) for n backends; asking for a second one sorts the rest.
    """

    keyed = False
    by_load = False

    def __init__(self, backends: Sequence[Backend], rng: Random) -> None:
        self._backends = tuple(backends)
        self._draws = Draws([backend.weight for backend in backends], rng)

    def order(self, key: bytes = b"", now: float = 0.0) -> Iterator[Backend]:
        """Yield each backend once."""
        if not self._draws.indexes:
            return
        first = self._draws.one()
        yield self._backends[first]  # nearly always the only one that is asked for
        for index in self._draws.others((first,)):
            yield self._backends[index]

    def shares(self) -> Mapping[str, float]:
        """Return weight / total weight by name."""
        return shares_by_weight(self._backends)


class Draws:
    """Draws indexes of a list of whole weights, each in proportion to its weight."""

    def __init__(self, weights: Sequence[int], rng: Random) -> None:
        self.indexes = [index for index, weight in enumerate(weights) if weight > 0]
        """Those that can be drawn."""
        self._weights = [weights[index] for index in self.indexes]
        self._rng = rng
        # Index i of `indexes` is drawn by a point from the end before it up to its own.
        self._ends = list(accumulate(self._weights))
        self._total = sum(self._weights)
        self._last = len(self.indexes) - 1
        self._alike = len(set(self._weights)) == 1

    def one(self) -> int:
        """Return a random index. There has to be one; O(log n)."""
        point = self._rng.random() * self._total
        return self.indexes[bisect_right(self._ends, point, 0, self._last)]

    def two(self) -> tuple[int, int]:
        """Return two different indexes, the second by weight among those that are not the first.

        There have to be two; O(log n).
        """
        random, ends, last = self._rng.random, self._ends, self._last
        if self._alike:  # nearly always, and half the time
            indexes = self.indexes
            first = int(random() * (last + 1))
            second = int(random() * last)
            return indexes[first], indexes[second + 1 if second >= first else second]
        first = bisect_right(ends, random() * self._total, 0, last)
        weight = self._weights[first]
        point = random() * (self._total - weight)
        if point >= ends[first] - weight:
            point += weight  # the first one's stretch is left out
        second = bisect_right(ends, point, 0, last)
        return self.indexes[first], self.indexes[second]

    def others(self, drawn: Collection[int]) -> list[int]:
        """Return all indexes but those `drawn`, in a random order by weight; O(n log n)."""
        expovariate = self._rng.expovariate
        keys = [
            (expovariate(weight), index)
            for index, weight in zip(self.indexes, self._weights, strict=True)
            if index not in drawn
        ]
        return [index for _, index in sorted(keys)]

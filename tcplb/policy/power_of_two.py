"""The power of two choices: draw two backends, and take the less busy one.

Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE TPDS 2001. The
longest queue grows with log log n instead of the log n / log log n of one draw, and unlike least
connections, many balancers that see the same counts do not all run to the same backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random

from tcplb.policy.backend import Backend
from tcplb.policy.load import Load, shares_by_weight
from tcplb.policy.weighted_random import Draws

_TURNS_PER_HALVING = 32
"""Recent starts are halved after so many orders per backend."""


class PowerOfTwo:
    """Yields the better of two different draws by weight, in O(log n), and then the rest.

    Better is who has fewer connections per effective weight, or if they are even, fewer recent
    starts per weight: connections that end at once leave no other trace. So weights hold even if
    nothing lasts, and a backend whose connections do not end loses to any other that is idle.
    """

    keyed = False
    by_load = True

    def __init__(self, backends: Sequence[Backend], load: Load, rng: Random) -> None:
        self._backends = tuple(backends)
        self._counts = load.counts
        self._weights = load.weights
        self._draws = Draws([backend.weight for backend in backends], rng)
        self._starts = [0.0] * len(backends)
        self._orders_left = self._orders_per_halving = _TURNS_PER_HALVING * len(backends)

    def order(self, key: bytes = b"", now: float = 0.0) -> Iterator[Backend]:
        """Yield each backend once; the last one yielded counts as a start."""
        self._age()
        starts = self._starts
        first = -1
        for index in self._preference():
            first = index if first < 0 else first
            starts[index] += 1
            yield self._backends[index]
            starts[index] -= 1  # it was not taken
        # Nobody suited. Whoever settles for the first one after all must not always settle for the
        # same.
        if first >= 0:
            starts[first] += 1

    def shares(self) -> Mapping[str, float]:
        """Return weight / total weight by name: what they get if all connections are alike."""
        return shares_by_weight(self._backends)

    def _preference(self) -> Iterator[int]:
        indexes = self._draws.indexes
        if len(indexes) < 2:
            yield from indexes
            return
        drawn = self._draws.two()
        better, left = self._compare(*drawn)
        yield better
        # Each further draw competes with the one that was left over.
        for index in self._draws.others(drawn):
            better, left = self._compare(left, index)
            yield better
        yield left

    def _compare(self, one: int, other: int) -> tuple[int, int]:
        """Return both, the better one first; of two alike, `one`."""
        one_weight, other_weight = self._weights[one], self._weights[other]
        one_load, other_load = (
            self._counts[one]() / one_weight,
            self._counts[other]() / other_weight,
        )
        if one_load == other_load:
            one_load, other_load = (
                self._starts[one] / one_weight,
                self._starts[other] / other_weight,
            )
        return (one, other) if one_load <= other_load else (other, one)

    def _age(self) -> None:
        """Halve the recent starts now and then: O(1) an order, if spread over the orders."""
        self._orders_left -= 1
        if self._orders_left <= 0:
            self._orders_left = self._orders_per_halving
            self._starts[:] = [count / 2 for count in self._starts]

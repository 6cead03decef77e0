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
        self._orders_left -= 1
        if self._orders_left <= 0:
            self._age()
        if len(self._draws.indexes) < 2:
            for index in self._draws.indexes:
                yield self._backends[index]
            return
        starts = self._starts
        drawn = self._draws.two()
        first, left = self._compare(*drawn)
        starts[first] += 1
        yield self._backends[first]  # nearly always the only one that is asked for
        starts[first] -= 1  # it was not taken
        for index in self._rest(drawn, left):
            starts[index] += 1
            yield self._backends[index]
            starts[index] -= 1
        # Nobody suited. Whoever settles for the first one after all must not always settle for the
        # same.
        starts[first] += 1

    def shares(self) -> Mapping[str, float]:
        """Return weight / total weight by name: what they get if all connections are alike."""
        return shares_by_weight(self._backends)

    def _rest(self, drawn: tuple[int, int], left: int) -> Iterator[int]:
        """Yield all but the winner of the two `drawn`, of which `left` is the other one."""
        # Each further draw competes with the one that was left over.
        for index in self._draws.others(drawn):
            better, left = self._compare(left, index)
            yield better
        yield left

    def _compare(self, one: int, other: int) -> tuple[int, int]:
        """Return both, the better one first; of two alike, `one`."""
        counts, weights = self._counts, self._weights
        one_load, other_load = counts[one]() / weights[one], counts[other]() / weights[other]
        if one_load == other_load:
            starts = self._starts
            one_load, other_load = starts[one] / weights[one], starts[other] / weights[other]
        return (one, other) if one_load <= other_load else (other, one)

    def _age(self) -> None:
        """Halve the recent starts now and then: O(1) an order, if spread over the orders."""
        self._orders_left = self._orders_per_halving
        self._starts[:] = [count / 2 for count in self._starts]

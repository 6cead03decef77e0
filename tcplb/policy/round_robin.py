"""Smooth weighted round robin.

Source: nginx, ``ngx_http_upstream_round_robin.c`` (Igor Sysoev and Maxim Dounin, 2012). Each
turn, every backend's current weight grows by its weight; the largest is picked and pays the total
back. With weights 5, 1, 1 the turns are a a b a c a a: exact over a cycle, and never a burst.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import gcd

from tcplb.policy.backend import Backend


class RoundRobin:
    """Yields backends in the order of their turns.

    After sum(weights)/gcd(weights) turns all current weights are 0 again, so the turns repeat:
    each is computed once and replayed afterwards, O(1). Computing one is O(different weights),
    because backends of one weight take the turns of that weight in rotation.

    A backend that the caller does not take loses that turn to the next one, so those that remain
    keep sharing in proportion to their weights. (Choosing a substitute by other means would give
    one neighbour the whole share of a failed backend.)
    """

    keyed = False
    by_load = False

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._backends = [backend for backend in backends if backend.weight > 0]
        weights = [backend.weight for backend in self._backends]
        self._total = sum(weights)
        self._rotations = [_Rotation(self._backends, weight) for weight in sorted(set(weights))]
        self._cycle_length = self._total // gcd(*weights) if weights else 0
        self._turns: list[Backend] = []
        self._next_turn = 0

    def order(self, key: bytes = b"", now: float = 0.0) -> Iterator[Backend]:
        """Yield each backend once, in the order of their turns; at most one cycle is looked at."""
        if not self._backends:
            return
        first_turn = self._next_turn
        first = self._take_turn()
        yield first  # nearly always the only one that is asked for
        seen = {first.name}
        while len(seen) < len(self._backends):
            backend = self._take_turn()
            if backend.name not in seen:
                seen.add(backend.name)
                yield backend
        # Nobody suited, and the turns have come round. The next walk begins one turn later, or
        # whoever settles for the first one after all would always settle for the same.
        self._next_turn = (first_turn + 1) % self._cycle_length

    def shares(self) -> Mapping[str, float]:
        """Return weight / total weight by name."""
        return {backend.name: backend.weight / self._total for backend in self._backends}

    def _take_turn(self) -> Backend:
        turn = self._next_turn
        self._next_turn = turn + 1 if turn + 1 < self._cycle_length else 0
        if turn == len(self._turns):
            self._turns.append(self._compute_turn())
        return self._turns[turn]

    def _compute_turn(self) -> Backend:
        for rotation in self._rotations:
            rotation.current += rotation.weight
        # Of equals, the first in the config has the turn.
        best = max(self._rotations, key=lambda rotation: (rotation.current, -rotation.next_index))
        return best.take_turn(self._total)


class _Rotation:
    """The backends of one weight: the one that has had the fewest turns, or is first, is next.

    All of one weight grow alike, so `current`, the current weight of the next one, is enough.
    """

    def __init__(self, backends: Sequence[Backend], weight: int) -> None:
        self.weight = weight
        self.current = 0
        self._backends = backends
        self._indexes = [i for i, backend in enumerate(backends) if backend.weight == weight]
        self._next = 0

    @property
    def next_index(self) -> int:
        """Where the next one stands in the config."""
        return self._indexes[self._next]

    def take_turn(self, price: int) -> Backend:
        """Return the next one, which pays `price`."""
        backend = self._backends[self.next_index]
        self._next += 1
        if self._next == len(self._indexes):
            # All have paid once more, the one whose turn it is again among them.
            self._next = 0
            self.current -= price
        return backend

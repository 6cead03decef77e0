"""A consistent hash ring.

Source: Karger et al., "Consistent Hashing and Random Trees", STOC 1997; 160 points a backend as in
libketama (2007). Each backend stands at 160 × weight points of a 64-bit circle, and a key belongs
to the first point at or after its own hash. So a backend that leaves moves only its own keys, and
gets exactly those back when it returns.

Placement is a pure function of names, weights, key and `SEED`: the same in every process, on every
machine and in every version of Python. Changing any of them, or the hash, moves users' keys.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Self

from sortedcontainers import SortedDict
from xxhash import xxh64_intdigest

from tcplb.policy.backend import Backend

POINTS_PER_WEIGHT = 160
SEED = 0
_CIRCLE = 1 << 64


class HashRing:
    """Yields backends clockwise from the key's place. A look-up costs one hash and one bisect."""

    keyed = True
    by_load = False

    def __init__(self, backends: Sequence[Backend]) -> None:
        for _ in self._build(backends):
            pass

    @classmethod
    def in_steps(cls, backends: Sequence[Backend]) -> Generator[None, None, Self]:
        """Make a ring in small steps, for whoever has other things to do between them."""
        ring = cls.__new__(cls)
        yield from ring._build(backends)
        return ring

    def _build(self, backends: Sequence[Backend]) -> Iterator[None]:
        self._backends = [backend for backend in backends if backend.weight > 0]
        # The hot path bisects a flat copy: 3 times cheaper than asking the SortedDict each time
        # (docs/performance.md), and membership changes rarely.
        self._points: list[int] = []
        self._owners: list[Backend] = []
        arcs = _arcs(sum(backend.weight for backend in backends))
        yield from _place(backends, arcs)
        for arc in arcs:
            points = SortedDict(arc)
            self._points += points.keys()
            self._owners += points.values()
            yield

    def order(self, key: bytes = b"", now: float = 0.0) -> Iterator[Backend]:
        """Yield each backend once: the owner of `key`, then the next distinct ones along the ring.

        The walk ends after one lap at the latest.
        """
        owners = self._owners
        if not owners:
            return
        points = len(owners)
        start = bisect_left(self._points, xxh64_intdigest(key, SEED)) % points
        owner = owners[start]
        yield owner  # nearly always the only one that is asked for
        seen = {owner.name}
        for step in range(start + 1, start + points):
            if len(seen) == len(self._backends):
                return
            backend = owners[step % points]
            if backend.name not in seen:
                seen.add(backend.name)
                yield backend

    def shares(self) -> Mapping[str, float]:
        """Return the fraction of the circle that each backend owns, by name."""
        arcs = {backend.name: 0 for backend in self._backends}
        previous = self._points[-1] - _CIRCLE if self._points else 0
        for point, owner in zip(self._points, self._owners, strict=True):
            arcs[owner.name] += point - previous
            previous = point
        return {name: arc / _CIRCLE for name, arc in arcs.items()}


_Arc = dict[int, Backend]
"""The points on an arc of the circle, not sorted yet, with their owners."""


def _arcs(weight: int) -> list[_Arc]:
    """Return equal arcs of the circle, in its order, so many that each gets some 1,000 points."""
    return [{} for _ in range(1 + weight * POINTS_PER_WEIGHT // 1000)]


def _place(backends: Sequence[Backend], arcs: Sequence[_Arc]) -> Iterator[None]:
    number = len(arcs)
    # Two backends on one point: the smaller name keeps it, whatever the order of the config.
    for backend in sorted(backends, key=lambda backend: backend.name, reverse=True):
        name = backend.name.encode()
        for index in range(POINTS_PER_WEIGHT * backend.weight):
            point = xxh64_intdigest(b"%b#%d" % (name, index), SEED)
            # Sorted once, at the end: point by point it takes twice as long.
            arcs[point * number >> 64][point] = backend
            if index % 1000 == 0:
                yield

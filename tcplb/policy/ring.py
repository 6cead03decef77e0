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
from collections.abc import Iterator, Mapping, Sequence

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
        self._backends = [backend for backend in backends if backend.weight > 0]
        points = _place(backends)
        # The hot path bisects a flat copy: 3 times cheaper than asking the SortedDict each time
        # (docs/performance.md), and membership changes rarely.
        self._points: list[int] = list(points)
        self._owners: list[Backend] = [points[point] for point in self._points]

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


def _place(backends: Sequence[Backend]) -> SortedDict[int, Backend]:
    points: dict[int, Backend] = {}
    # Two backends on one point: the smaller name keeps it, whatever the order of the config.
    for backend in sorted(backends, key=lambda backend: backend.name, reverse=True):
        name = backend.name.encode()
        for index in range(POINTS_PER_WEIGHT * backend.weight):
            points[xxh64_intdigest(b"%b#%d" % (name, index), SEED)] = backend
    # Sorted once, at the end: point by point it takes twice as long.
    return SortedDict(points)

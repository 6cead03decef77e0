"""Rendezvous hashing: each backend draws lots for the key, and the highest one has it.

Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM ToN
1998; weights by -weight / ln(u), for u in (0, 1), as in Resch, "New hashing algorithms for data
storage", SNIA SDC 2015: the highest of such lots is a given backend's with a probability of exactly
its weight / the total weight.

A lot depends on nothing but its backend's name and weight and the key. So a backend that leaves
moves only its own keys, more weight takes keys only for itself, and what moves is the least that
can. Placement is the same in every process and on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log

from xxhash import xxh64_intdigest

from tcplb.policy.backend import Backend
from tcplb.policy.load import shares_by_weight

SEED = 0


class Rendezvous:
    """Yields backends by their lots for the key. A look-up costs n hashes and logarithms."""

    keyed = True
    by_load = False

    def __init__(self, backends: Sequence[Backend]) -> None:
        # By name, so that of two equal lots the smaller name has the higher, whatever the config.
        self._backends = sorted(
            (backend for backend in backends if backend.weight > 0),
            key=lambda backend: backend.name,
        )
        self._hands = [
            (backend.weight, xxh64_intdigest(backend.name.encode(), SEED))
            for backend in self._backends
        ]

    def order(self, key: bytes = b"", now: float = 0.0) -> Iterator[Backend]:
        """Yield each backend once, by its lot for `key`, the highest first."""
        if not self._backends:
            return
        lots = [_lot(weight, xxh64_intdigest(key, seed)) for weight, seed in self._hands]
        first = lots.index(max(lots))
        yield self._backends[first]  # nearly always the only one that is asked for
        ranking = sorted(range(len(lots)), key=lots.__getitem__, reverse=True)  # which is stable
        for index in ranking:
            if index != first:
                yield self._backends[index]

    def shares(self) -> Mapping[str, float]:
        """Return weight / total weight by name."""
        return shares_by_weight(self._backends)


def _lot(weight: int, drawn: int) -> float:
    # 52 bits of the hash and a half: as a float this is exact, and neither 0 nor 1.
    return -weight / log(((drawn >> 12) + 0.5) * 2.0**-52)

"""Backends for the tests of policy, and a digest of where keys are placed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from random import Random

from hypothesis import strategies as st

from tcplb.policy.backend import Backend
from tcplb.policy.load import Load
from tcplb.policy.names import StrategyName
from tcplb.policy.occupancy import LocalOccupancy, Occupancy
from tcplb.policy.ring import HashRing
from tcplb.policy.strategy import MakeStrategy, Strategy

DEFAULT_NAMES = ("127.0.0.1:8081", "127.0.0.1:8082", "127.0.0.1:8083", "127.0.0.1:8084")

NAMES = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789._-:%[]", min_size=1, max_size=24)
"""Names that a configuration accepts."""

WEIGHTS = st.integers(0, 6)


def backend(name: str, weight: int = 1) -> Backend:
    return Backend(name, "127.0.0.1", 8081, weight)


def limited(**limits: int) -> list[Backend]:
    return [
        Backend(name, "127.0.0.1", 8081, max_connections=limit) for name, limit in limits.items()
    ]


def named(*names: str) -> list[Backend]:
    return [backend(name) for name in names]


def weighted(**weights: int) -> list[Backend]:
    return [backend(name, weight) for name, weight in weights.items()]


def names(backends: Iterable[Backend]) -> list[str]:
    return [backend.name for backend in backends]


def load_of(backends: Sequence[Backend], occupancy: Occupancy | None = None) -> Load:
    """Return the load of a pool with these backends and no others."""
    occupancy = LocalOccupancy(len(backends)) if occupancy is None else occupancy
    return Load(backends, occupancy, range(len(backends)))


def maker(name: StrategyName) -> MakeStrategy:
    """Return what makes strategies of that name; Maglev's table is small, so that it is quick."""
    return MakeStrategy(name, Random(1), table_size=251)


def make(
    name: StrategyName, backends: Sequence[Backend], occupancy: Occupancy | None = None
) -> Strategy:
    """Return a strategy of that name."""
    return maker(name)(backends, load_of(backends, occupancy))


def backend_lists(
    *, min_size: int = 0, max_size: int = 6, weights: st.SearchStrategy[int] = WEIGHTS
) -> st.SearchStrategy[list[Backend]]:
    """Draw backends with names that differ."""
    return st.lists(
        st.builds(backend, NAMES, weights),
        min_size=min_size,
        max_size=max_size,
        unique_by=lambda backend: backend.name,
    )


def placement_digest() -> str:
    """Return a digest of the whole order of 500 keys on a ring of unequal weights."""
    ring = HashRing([backend(name, index) for index, name in enumerate(DEFAULT_NAMES)])
    placements = (",".join(names(ring.order(b"/%d" % index))) for index in range(500))
    return sha256("\n".join(placements).encode()).hexdigest()

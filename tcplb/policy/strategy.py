"""What a strategy is, and how one is made from its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, assert_never

from tcplb.policy.backend import Backend
from tcplb.policy.least_connections import LeastConnections
from tcplb.policy.names import StrategyName
from tcplb.policy.occupancy import Occupancy
from tcplb.policy.ring import HashRing
from tcplb.policy.round_robin import RoundRobin


class Strategy(Protocol):
    """Orders backends for a new connection. Knows nothing of health, limits or earlier tries."""

    @property
    def keyed(self) -> bool:
        """Whether `order` looks at its key; if not, nobody needs to find one."""

    def order(self, key: bytes) -> Iterator[Backend]:
        """Yield the backends of positive weight in preference order, each once, and end.

        The caller stops as soon as one suits it. What it did not take has had its turn.
        """

    def shares(self) -> Mapping[str, float]:
        """Return the fraction of new connections each backend is meant to get, by name."""


def make_strategy(
    name: StrategyName, backends: Sequence[Backend], occupancy: Occupancy | None = None
) -> Strategy:
    """Return the strategy called `name` over `backends`.

    `occupancy` has to be the pool's own. Only a strategy that goes by the connections open needs
    it: without one, `LEAST_CONNECTIONS` raises TypeError.
    """
    match name:
        case StrategyName.ROUND_ROBIN:
            return RoundRobin(backends)
        case StrategyName.HASH:
            return HashRing(backends)
        case StrategyName.LEAST_CONNECTIONS:
            if occupancy is None:
                raise TypeError(f"{name} needs the occupancy that its pool counts with")
            return LeastConnections(backends, occupancy)
        case _:
            assert_never(name)

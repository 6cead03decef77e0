"""What a strategy is, and how one is made from its name."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol, assert_never

from tcplb.policy.backend import Backend
from tcplb.policy.custom import Custom, PickFunction
from tcplb.policy.first import First
from tcplb.policy.least_connections import LeastConnections
from tcplb.policy.load import Load
from tcplb.policy.maglev import TABLE_SIZE, Maglev
from tcplb.policy.names import StrategyName
from tcplb.policy.peak_ewma import DECAY, PeakEwma
from tcplb.policy.power_of_two import PowerOfTwo
from tcplb.policy.rendezvous import Rendezvous
from tcplb.policy.ring import HashRing
from tcplb.policy.round_robin import RoundRobin
from tcplb.policy.weighted_random import WeightedRandom


class Strategy(Protocol):
    """Orders backends for a new connection. Knows nothing of health, limits or earlier tries."""

    @property
    def keyed(self) -> bool:
        """Whether `order` looks at its key; if not, nobody needs to find one."""

    @property
    def by_load(self) -> bool:
        """Whether `order` goes by the connections that are open, and by the weights of `Load`."""

    def order(self, key: bytes = b"", now: float = 0.0) -> Iterator[Backend]:
        """Yield the backends of positive weight in preference order, each once, and end.

        The caller stops as soon as one suits it. What it did not take has had its turn.
        """

    def shares(self) -> Mapping[str, float]:
        """Return the fraction of new connections each backend is meant to get, by name."""


StrategyMaker = Callable[[Sequence[Backend], Load], Strategy]
"""Makes the strategy of one tier of a pool. Backends have their indexes in `Load`."""


@dataclass(frozen=True, slots=True)
class UserFunction:
    """A strategy of the user's own, and what it is watched with."""

    function: PickFunction
    clock: Callable[[], float]
    """Seconds; it times the function."""
    failed: Callable[[str], None]
    """Hears the reason whenever the function's answer cannot be used."""


Tables = MutableMapping[tuple[StrategyName, int, tuple[Backend, ...]], Strategy]
"""Strategies that take long to make and know nothing but their backends, by what they depend on."""


@dataclass(frozen=True, slots=True)
class MakeStrategy:
    """Makes strategies of one kind; an instance is a `StrategyMaker`."""

    kind: StrategyName | UserFunction
    rng: Random
    table_size: int = TABLE_SIZE
    """Slots of a Maglev table."""
    decay: float = DECAY
    """Seconds, for peak-ewma."""
    prepared: Tables = field(default_factory=dict, compare=False, repr=False)
    """What need not be made any more."""

    def prepare(self, backends: Sequence[Backend]) -> Iterator[None]:
        """Make in small steps, for later, what takes long of a strategy over `backends`."""
        made: Generator[None, None, Strategy]
        if self.kind is StrategyName.HASH:
            made = HashRing.in_steps(backends)
        elif self.kind is StrategyName.MAGLEV:
            made = Maglev.in_steps(backends, self.table_size)
        else:
            return
        self.prepared[self.kind, self.table_size, tuple(backends)] = yield from made

    def __call__(self, backends: Sequence[Backend], load: Load) -> Strategy:
        """Return a new strategy over `backends`."""
        if isinstance(self.kind, UserFunction):
            user, fallback = self.kind, RoundRobin(backends)
            return Custom(backends, load, user.function, fallback, user.clock, user.failed)
        prepared = self.prepared.get((self.kind, self.table_size, tuple(backends)))
        return prepared or self._built_in(self.kind, backends, load)

    def _built_in(  # noqa: C901, PLR0911 - a table, one line a name
        self, name: StrategyName, backends: Sequence[Backend], load: Load
    ) -> Strategy:
        match name:
            case StrategyName.ROUND_ROBIN:
                return RoundRobin(backends)
            case StrategyName.LEAST_CONNECTIONS:
                return LeastConnections(backends, load)
            case StrategyName.RANDOM:
                return WeightedRandom(backends, self.rng)
            case StrategyName.POWER_OF_TWO:
                return PowerOfTwo(backends, load, self.rng)
            case StrategyName.HASH:
                return HashRing(backends)
            case StrategyName.MAGLEV:
                return Maglev(backends, self.table_size)
            case StrategyName.RENDEZVOUS:
                return Rendezvous(backends)
            case StrategyName.PEAK_EWMA:
                return PeakEwma(backends, load, self.rng, self.decay)
            case StrategyName.FIRST:
                return First(backends)
            case _:
                assert_never(name)

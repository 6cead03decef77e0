"""From a plan to the objects that do the work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from random import Random
from typing import assert_never

from tcplb.control.plan import EngineName, PoolPlan, StrategyPlan
from tcplb.control.user_function import load_function
from tcplb.dataplane.engine import Engine
from tcplb.dataplane.splice import SpliceEngine, splice_works
from tcplb.dataplane.streams import StreamsEngine
from tcplb.policy.names import StrategyName, names_function
from tcplb.policy.occupancy import Occupancy
from tcplb.policy.pool import Pool
from tcplb.policy.roster import Roster
from tcplb.policy.strategy import MakeStrategy, StrategyMaker, Tables, UserFunction
from tcplb.policy.transition import Mode


def build_pool(
    plan: PoolPlan,
    occupancy: Occupancy,
    failed: Callable[[str], None],
    rng: Random | None = None,
    prepared: Tables | None = None,
) -> Pool:
    """Return the pool of `plan`, which counts its leases in `occupancy`.

    `failed` hears why, whenever a strategy of the user's own gives nothing that can be used.
    `prepared` has what `prepare` has made. Raises StrategyError if that cannot be loaded.
    """
    # Seeded by the system: balancers that ejected together must not come back together.
    rng = rng or Random()
    return Pool(
        plan.name,
        plan.backends,
        strategy_maker(plan.strategy, rng, failed, prepared),
        rng=rng,
        rules=plan.rules,
        occupancy=occupancy,
        modes=_modes(plan),
        positions=plan.positions,
    )


def roster(
    plan: PoolPlan, rng: Random, failed: Callable[[str], None], prepared: Tables | None = None
) -> Roster:
    """Return who is in the pool of `plan`. Raises StrategyError."""
    make = strategy_maker(plan.strategy, rng, failed, prepared)
    return Roster(plan.backends, make, _modes(plan), plan.positions)


def prepare(plan: PoolPlan, prepared: Tables) -> Iterator[None]:
    """Make in small steps what takes long of the pool of `plan`: rings of many points, say."""
    strategy = plan.strategy
    if names_function(strategy.name):
        return
    kind, rng = StrategyName(strategy.name), Random()
    make = MakeStrategy(kind, rng, strategy.table_size, prepared=prepared)
    for backends in Roster(plan.backends, make).tier_members().values():
        yield from make.prepare(backends)


def _modes(plan: PoolPlan) -> dict[str, Mode]:
    return {backend.name: mode for backend, mode in zip(plan.backends, plan.modes, strict=True)}


def strategy_maker(
    plan: StrategyPlan,
    rng: Random,
    failed: Callable[[str], None],
    prepared: Tables | None = None,
) -> StrategyMaker:
    """Return what makes the strategies of a pool. Raises StrategyError."""
    kind: StrategyName | UserFunction
    if names_function(plan.name):
        function = load_function(plan.name, plan.search_path)
        kind = UserFunction(function, time.perf_counter, failed)
    else:
        kind = StrategyName(plan.name)
    return MakeStrategy(kind, rng, plan.table_size, plan.decay, prepared or {})


def build_engine(name: EngineName) -> Engine:
    """Return the engine that a listener asks for; "auto" is the fastest that works here."""
    match name:
        case "splice":
            return SpliceEngine()
        case "streams":
            return StreamsEngine()
        case "auto":
            return SpliceEngine() if splice_works() else StreamsEngine()
        case _:
            assert_never(name)

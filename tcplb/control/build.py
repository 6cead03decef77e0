"""From a plan to the objects that do the work."""

from __future__ import annotations

from random import Random
from typing import assert_never

from tcplb.control.plan import EngineName, PoolPlan
from tcplb.dataplane.engine import Engine
from tcplb.dataplane.splice import SpliceEngine, splice_works
from tcplb.dataplane.streams import StreamsEngine
from tcplb.policy.occupancy import Occupancy
from tcplb.policy.pool import Pool
from tcplb.policy.strategy import make_strategy


def build_pool(plan: PoolPlan, occupancy: Occupancy) -> Pool:
    """Return the pool of `plan`, which counts its leases in `occupancy`."""
    return Pool(
        plan.name,
        plan.backends,
        make_strategy(plan.strategy, plan.backends, occupancy),
        hash_key=plan.hash_key,
        eject=plan.eject,
        # Seeded by the system: balancers that ejected together must not come back together.
        rng=Random(),
        occupancy=occupancy,
    )


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

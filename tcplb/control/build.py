"""From settings to the objects that do the work."""

from __future__ import annotations

from random import Random
from typing import Literal, assert_never

from tcplb.config.models import ListenerConfig, PoolConfig
from tcplb.dataplane.engine import Engine, Timeouts
from tcplb.dataplane.streams import StreamsEngine
from tcplb.policy.backend import Backend
from tcplb.policy.health import EjectPolicy
from tcplb.policy.pool import Pool
from tcplb.policy.strategy import make_strategy


def build_pool(name: str, config: PoolConfig) -> Pool:
    """Return the pool called `name`."""
    backends = [
        Backend(backend.name, backend.host, backend.port, backend.weight)
        for backend in config.backends
    ]
    eject = config.eject
    return Pool(
        name,
        backends,
        make_strategy(config.strategy, backends),
        hash_key=config.hash_key,
        eject=EjectPolicy(
            failures=eject.failures,
            base_time=eject.base_time,
            step=eject.step,
            max_time=eject.max_time,
            jitter=eject.jitter,
        ),
        # Seeded by the system: balancers that ejected together must not come back together.
        rng=Random(),
    )


def build_engine(name: Literal["auto", "streams"]) -> Engine:
    """Return the engine that a listener asks for; "auto" is the fastest that works here."""
    match name:
        case "auto" | "streams":
            return StreamsEngine()
        case _:
            assert_never(name)


def build_timeouts(config: ListenerConfig) -> Timeouts:
    """Return the time-outs of a listener's sessions."""
    return Timeouts(
        connect=config.connect_timeout,
        connect_deadline=config.connect_deadline,
        first_line=config.first_line_timeout,
        idle=config.idle_timeout,
        half_close=config.half_close_timeout,
    )

"""What the workers are to do: the settings, as plain values that a new process reads at once.

Only the supervisor knows `Config`: importing the library that checks it takes longer than all else
that a worker does to start.
"""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tcplb.control.application_log import LogFormat
from tcplb.control.shared_file import shared_file
from tcplb.dataplane.engine import Timeouts
from tcplb.policy.backend import Backend
from tcplb.policy.health import EjectPolicy
from tcplb.policy.names import HashKey, StrategyName

if TYPE_CHECKING:
    from tcplb.config.models import Config, ListenerConfig, PoolConfig

EngineName = Literal["auto", "streams", "splice"]


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """A pool to be built."""

    name: str
    strategy: StrategyName
    hash_key: HashKey
    eject: EjectPolicy
    backends: tuple[Backend, ...]


@dataclass(frozen=True, slots=True)
class ListenerPlan:
    """What to do with the connections of one listener."""

    name: str
    pool: str
    engine: EngineName
    timeouts: Timeouts


@dataclass(frozen=True, slots=True)
class LogPlan:
    """The two logs; see `logs.Logs`."""

    access: str
    format: LogFormat
    level: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be at once."""

    each: int
    """In one worker: what fits into its limit of open files, if not less."""
    total: int | None
    """In all workers together; None for no such limit."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a worker has to know."""

    pools: tuple[PoolPlan, ...]
    listeners: tuple[ListenerPlan, ...]
    limits: Limits
    log: LogPlan
    drain_timeout: float
    """Seconds that sessions may go on when the worker is to end."""
    slots: int
    """The most workers there can be; it is the size of the scoreboard."""

    @property
    def backends(self) -> int:
        """The number of backends, over all pools."""
        return sum(len(pool.backends) for pool in self.pools)

    def first_position(self, pool: PoolPlan) -> int:
        """Return where the pool's backends begin on the scoreboard."""
        before = self.pools[: self.pools.index(pool)]
        return sum(len(earlier.backends) for earlier in before)


def make_plan(config: Config, limits: Limits, slots: int) -> Plan:
    """Return the plan that says what `config` does."""
    return Plan(
        pools=tuple(plan_pool(name, pool) for name, pool in config.pools.items()),
        listeners=tuple(plan_listener(listener) for listener in config.listeners),
        limits=limits,
        log=LogPlan(config.log.access, config.log.format, config.log.level),
        drain_timeout=config.limits.drain_timeout,
        slots=slots,
    )


def plan_pool(name: str, config: PoolConfig) -> PoolPlan:
    """Return the plan of the pool called `name`."""
    eject = config.eject
    return PoolPlan(
        name,
        config.strategy,
        config.hash_key,
        EjectPolicy(
            failures=eject.failures,
            base_time=eject.base_time,
            step=eject.step,
            max_time=eject.max_time,
            jitter=eject.jitter,
        ),
        tuple(
            Backend(
                backend.name,
                backend.host,
                backend.port,
                backend.weight,
                backend.max_connections,
            )
            for backend in config.backends
        ),
    )


def plan_listener(config: ListenerConfig) -> ListenerPlan:
    """Return the plan of a listener."""
    timeouts = Timeouts(
        connect=config.connect_timeout,
        connect_deadline=config.connect_deadline,
        first_line=config.first_line_timeout,
        idle=config.idle_timeout,
        half_close=config.half_close_timeout,
    )
    return ListenerPlan(config.name, config.pool, config.engine, timeouts)


def write_plan(plan: Plan) -> int:
    """Return the descriptor of a file in memory that has the plan, for `read_plan`."""
    data = pickle.dumps(plan)
    descriptor = shared_file("tcplb plan", len(data))
    os.pwrite(descriptor, data, 0)
    return descriptor


def read_plan(descriptor: int) -> Plan:
    """Return the plan that our parent has written."""
    data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    plan: Plan = pickle.loads(data)  # noqa: S301 - our own program has written it
    return plan

"""What the workers are to do: the settings, as plain values that a new process reads at once.

Only the supervisor knows `Config`: importing the library that checks it takes longer than all else
that a worker does to start.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tcplb.control.application_log import LogFormat
from tcplb.control.numbering import Numbering, Numbers
from tcplb.control.scoreboard import Layout
from tcplb.control.shared_file import shared_file
from tcplb.dataplane.engine import Timeouts
from tcplb.policy.access_list import AccessRule, parse_access_rule
from tcplb.policy.backend import Backend
from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.names import parse_key_rule
from tcplb.policy.queue import QueuePolicy
from tcplb.policy.rate import ClientRate, Rate
from tcplb.policy.retry import RetryPolicy
from tcplb.policy.rules import PoolRules
from tcplb.policy.transition import Mode

if TYPE_CHECKING:
    from tcplb.config.models import BackendConfig, Config, ListenerConfig, PoolConfig

EngineName = Literal["auto", "streams", "splice"]


@dataclass(frozen=True, slots=True)
class StrategyPlan:
    """A strategy to be built for each tier of a pool."""

    name: str
    """A `StrategyName`, or ``module:function``."""
    table_size: int
    decay: float
    """Seconds."""
    search_path: str
    """Where else the module of a user's own function is looked for."""


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """A pool to be built."""

    name: str
    strategy: StrategyPlan
    rules: PoolRules
    backends: tuple[Backend, ...]
    modes: tuple[Mode, ...]
    """What the operator says of each backend."""
    number: int = 0
    """That of the pool on the scoreboard."""
    positions: tuple[int, ...] = ()
    """Those of the backends."""


@dataclass(frozen=True, slots=True)
class ListenerPlan:
    """What to do with the connections of one listener."""

    name: str
    pool: str
    engine: EngineName
    timeouts: Timeouts
    max_connections: int
    """Over all workers; 0 for no limit."""
    rate: Rate
    """Of new connections, over all workers."""
    client_rate: ClientRate
    access: tuple[AccessRule, ...]
    addresses: tuple[int, ...] = ()
    """What it listens on; see `sockets.SocketSets`."""
    number: int = 0
    """That of the listener on the scoreboard."""
    rate_number: int = 0
    """That of its rate."""
    routes: tuple[int, ...] = ()
    """Those of its routes to the backends of the pool, in their order."""
    unrouted: int = 0
    """That of its sessions without a backend."""


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
    layout: Layout
    """What the scoreboard has cells for."""
    generation: int = 0
    """How many plans there were before it."""


_SPARE = 4096
_SPARE_TABLES = 256


def roomy_layout(config: Config) -> Layout:
    """Return a layout with room for what reloads may add to `config`."""
    backends = {name: len(pool.backends) for name, pool in config.pools.items()}
    routes = sum(backends[listener.pool] + 1 for listener in config.listeners)
    listeners = 2 * len(config.listeners) + _SPARE_TABLES
    return Layout(
        backends=2 * sum(backends.values()) + _SPARE,
        pools=2 * len(backends) + _SPARE_TABLES,
        listeners=listeners,
        rates=listeners,
        routes=2 * routes + 2 * _SPARE,
    )


def new_numbering(layout: Layout) -> Numbering:
    """Return a numbering of the cells of `layout` in which nothing has any yet."""
    kinds = ("backends", "pools", "listeners", "rates", "routes")
    return Numbering(*map(Numbers, kinds, layout.capacities))


def assign_numbers(config: Config, numbering: Numbering) -> None:
    """Give all that `config` has its numbers. Raises ChangeError if there is no room for it."""
    pools = config.pools
    names = [(name, each.name) for name, pool in pools.items() for each in pool.backends]
    numbering.backends.assign(names)
    numbering.pools.assign(pools)
    numbering.listeners.assign(listener.name for listener in config.listeners)
    numbering.rates.assign(map(_rate_of, config.listeners))
    numbering.routes.assign(
        (listener.name, listener.pool, backend)
        for listener in config.listeners
        for backend in ("", *(each.name for each in pools[listener.pool].backends))
    )


def make_plan(
    config: Config,
    limits: Limits,
    *,
    slots: int,
    layout: Layout,
    numbering: Numbering,
    addresses: Mapping[str, tuple[int, ...]],
    generation: int = 0,
) -> Plan:
    """Return the plan that says what `config` does.

    `numbering` has numbers for all of it, and `addresses` what each listener listens on, by name.
    """
    pools = {
        name: _numbered(plan_pool(name, pool), numbering) for name, pool in config.pools.items()
    }
    return Plan(
        pools=tuple(pools.values()),
        listeners=tuple(
            replace(
                plan_listener(listener),
                addresses=addresses[listener.name],
                number=numbering.listeners[listener.name],
                rate_number=numbering.rates[_rate_of(listener)],
                routes=tuple(
                    numbering.routes[listener.name, listener.pool, backend.name]
                    for backend in pools[listener.pool].backends
                ),
                unrouted=numbering.routes[listener.name, listener.pool, ""],
            )
            for listener in config.listeners
        ),
        limits=limits,
        log=LogPlan(config.log.access, config.log.format, config.log.level),
        drain_timeout=config.limits.drain_timeout,
        slots=slots,
        layout=layout,
        generation=generation,
    )


def _numbered(plan: PoolPlan, numbering: Numbering) -> PoolPlan:
    names = [backend.name for backend in plan.backends]
    positions = tuple(numbering.backends[plan.name, name] for name in names)
    return replace(plan, number=numbering.pools[plan.name], positions=positions)


def _rate_of(listener: ListenerConfig) -> tuple[str, int, int]:
    return listener.name, listener.max_new_per_second, listener.burst


def plan_pool(name: str, config: PoolConfig) -> PoolPlan:
    """Return the plan of the pool called `name`."""
    return PoolPlan(
        name,
        StrategyPlan(
            config.strategy, config.maglev_table_size, config.ewma_decay, working_directory()
        ),
        PoolRules(
            key_rule=parse_key_rule(config.hash_key),
            hash_balance_factor=config.hash_balance_factor,
            slow_start=config.slow_start,
            panic_threshold=config.panic_threshold,
            eject=EjectPolicy(**dict(config.eject)),
            retry=RetryPolicy(**dict(config.retry)),
            queue=QueuePolicy(**dict(config.queue)),
        ),
        tuple(plan_backend(backend) for backend in config.backends),
        tuple(Mode(backend.state) for backend in config.backends),
    )


def address_of(plan: Plan, pool: str, backend: str) -> tuple[str, int] | None:
    """Return the host and port of a backend, if there is one of that name."""
    for each in plan.pools:
        if each.name == pool:
            return next(((b.host, b.port) for b in each.backends if b.name == backend), None)
    return None


def working_directory() -> str:
    """Return where the user is, which may have a strategy of the user's own; "" if that is gone."""
    try:
        return str(Path.cwd())
    except OSError:
        return ""


def plan_backend(config: BackendConfig) -> Backend:
    """Return the backend that `config` says."""
    return Backend(
        config.name,
        config.host,
        config.port,
        config.weight,
        config.max_connections,
        config.priority,
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
    each = config.per_client
    return ListenerPlan(
        config.name,
        config.pool,
        config.engine,
        timeouts,
        config.max_connections,
        Rate(config.max_new_per_second, config.burst),
        ClientRate(
            Rate(each.max_new_per_second, each.burst), each.prefix, each.prefix_v6, each.table_size
        ),
        tuple(parse_access_rule(rule) for rule in config.access),
    )


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

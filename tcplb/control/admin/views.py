"""What the admin API shows: made from the scoreboard and the supervisor's own state.

Nothing here asks a worker.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from tcplb import __version__
from tcplb.config.models import BackendConfig, Config, ListenerConfig, PoolConfig
from tcplb.control.admin.models import (
    BackendStats,
    BackendView,
    DrainView,
    ListenerView,
    PoolView,
    ReloadsView,
    Stats,
    Status,
    WorkerView,
)
from tcplb.control.build import build_pool
from tcplb.control.operator import Operator
from tcplb.control.plan import plan_pool
from tcplb.control.processes import open_files
from tcplb.control.serving import Serving
from tcplb.dataplane.counters import RouteCounters
from tcplb.dataplane.termination import Termination
from tcplb.policy.fingerprint import fingerprint
from tcplb.policy.names import names_function
from tcplb.policy.occupancy import LocalOccupancy
from tcplb.policy.transition import Transition

State = Literal["starting", "serving", "draining"]

_REFUSALS = (
    Termination.DENIED,
    Termination.TOO_FAST,
    Termination.QUEUE_FULL,
    Termination.QUEUE_TIMED_OUT,
    Termination.ALL_FULL,
    Termination.NO_BACKEND,
    Termination.CONNECT_FAILED,
    Termination.CONNECT_TIMED_OUT,
    Termination.NO_RESOURCES,
)


class Views:
    """The balancer as the API shows it."""

    def __init__(self, serving: Serving, operator: Operator) -> None:
        self._serving = serving
        self._operator = operator
        self._started_at = time.time()
        self.state: State = "serving"
        self._placements: tuple[Config | None, dict[str, _Placement]] = (None, {})

    # -- status -------------------------------------------------------------------------------

    def status(self) -> Status:
        """Return how the balancer is."""
        serving, configuration = self._serving, self._operator.configuration
        reloads = self._operator.reloads
        return Status(
            version=__version__,
            pid=os.getpid(),
            state=self.state,
            ready=not self.why_not_ready(),
            started_at=self._started_at,
            uptime_s=max(0.0, time.time() - self._started_at),
            config_file=configuration.file_name,
            runtime_changes=len(configuration.changes.changes),
            active=serving.board.totals().active,
            max_connections=serving.max_connections(),
            reloads=ReloadsView(
                succeeded=reloads.succeeded,
                failed=reloads.failed,
                last_at=reloads.last_at,
                last_error=reloads.last_error,
            ),
            workers=list(self._workers()),
            listeners=[self._listener(each) for each in serving.config.listeners],
        )

    def why_not_ready(self) -> str:
        """Return why no connections should be sent here now, in words; nothing if they should.

        It is asked often, and by anybody: so it looks no further than it has to.
        """
        if self.state != "serving":
            return self.state
        has_all = all(
            any(self._is_usable(name, backend) for backend in pool.backends)
            for name, pool in self._serving.config.pools.items()
        )
        return "" if has_all else "a pool has no usable backend"

    def _workers(self) -> Iterator[WorkerView]:
        board, now = self._serving.board, time.monotonic()
        for slot in self._serving.crew.slots:
            pid = slot.pid
            opened, most = (0, 0) if pid is None else open_files(pid)
            beat = board.heartbeat(slot.number)
            yield WorkerView(
                number=slot.number + 1,
                pid=pid,
                state=slot.state,
                active=board.sessions(slot.number),
                heartbeat_age_s=max(0.0, now - beat) if beat else None,
                loop_lag_s=max(0.0, board.lag(slot.number)),
                open_files=opened,
                max_open_files=most,
            )

    def _listener(self, config: ListenerConfig) -> ListenerView:
        serving = self._serving
        numbering = serving.crew.numbering
        routes = self._routes(config)
        ended = [sum(route.terminations[each.number] for route in routes) for each in Termination]
        active = serving.board.listener_active(numbering.listeners[config.name])
        return ListenerView(
            name=config.name,
            bind=config.bind,
            addresses=serving.endpoints(config),
            pool=config.pool,
            active=max(0, active),
            accepted=sum(ended) + max(0, active),
            refused={
                each.name.lower(): ended[each.number] for each in _REFUSALS if ended[each.number]
            },
            max_connections=config.max_connections,
        )

    def _routes(self, config: ListenerConfig) -> list[RouteCounters]:
        names = ["", *(each.name for each in self._serving.config.pools[config.pool].backends)]
        numbers = self._serving.crew.numbering.routes
        totals = self._serving.board.route_totals
        return [totals(numbers[config.name, config.pool, name]) for name in names]

    # -- pools and backends -------------------------------------------------------------------

    def pools(self) -> list[PoolView]:
        """Return all pools with their backends."""
        return [self._pool(name, pool) for name, pool in self._serving.config.pools.items()]

    def _pool(self, name: str, config: PoolConfig) -> PoolView:
        weights = _tier_weights(config)
        backends = [
            self._backend(name, config, each, weights[each.priority]) for each in config.backends
        ]
        placement = self._placement(name)
        number = self._serving.crew.numbering.pools[name]
        return PoolView(
            name=name,
            strategy=config.strategy,
            keyed=placement.keyed,
            usable=sum(backend.usable for backend in backends),
            active=sum(backend.active for backend in backends),
            waiting=self._serving.board.queue_totals(number).waiting,
            fingerprint=placement.fingerprint,
            shares=placement.shares,
            backends=backends,
        )

    def _backend(
        self, pool: str, pool_config: PoolConfig, config: BackendConfig, tier_weight: int
    ) -> BackendView:
        verdicts, name = self._serving.crew.verdicts, config.name
        ejection, down = verdicts.ejected(pool, name), verdicts.down(pool, name)
        stats = self._stats_of(pool, config)
        drain = self._drain(pool, config)
        return BackendView(
            pool=pool,
            name=name,
            address=config.address,
            weight=config.weight,
            weight_share=config.weight / tier_weight if tier_weight else 0.0,
            tier=config.priority,
            max_connections=config.max_connections,
            mode=config.state,
            checked="not checked" if pool_config.check is None else "down" if down else "up",
            passive=self._passive(pool, name, ejection),
            usable=self._is_usable(pool, config),
            why=_why(config, ejection, down),
            since_at=verdicts.since(pool, name),
            ejected_until_at=None if ejection is None else _wall_clock(ejection.until),
            active=stats.active,
            connections=stats.connections,
            connect_failures=stats.connect_failures,
            ejections=verdicts.ejections(pool, name),
            bytes_up=stats.bytes_up,
            bytes_down=stats.bytes_down,
            connect_seconds=stats.connect_seconds,
            changes=[str(each) for each in self._operator.configuration.changes.about(pool, name)],
            drain=drain,
        )

    def _passive(
        self, pool: str, name: str, ejection: Transition | None
    ) -> Literal["in", "ejected", "on trial"]:
        if self._serving.crew.verdicts.on_trial(pool, name):
            return "on trial"
        return "in" if ejection is None else "ejected"

    def _is_usable(self, pool: str, config: BackendConfig) -> bool:
        verdicts = self._serving.crew.verdicts
        out = verdicts.ejected(pool, config.name) or verdicts.down(pool, config.name)
        return config.state == "enabled" and config.weight > 0 and out is None

    def _drain(self, pool: str, config: BackendConfig) -> DrainView | None:
        drain = self._operator.drains.get(pool, config.name)
        if drain is None:
            return None
        now = time.time()
        oldest = None if drain.oldest is None else max(0.0, now - drain.oldest)
        return DrainView(
            since_at=drain.since,
            sessions_left=drain.left,
            oldest_age_s=oldest,
            deadline_at=drain.deadline,
        )

    def _placement(self, pool: str) -> _Placement:
        config, placements = self._placements
        if config is not self._serving.config:
            config = self._serving.config
            placements = {name: _Placement(name, each) for name, each in config.pools.items()}
            self._placements = config, placements
        return placements[pool]

    # -- figures ------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Return the figures of this moment."""
        serving = self._serving
        totals, pools = serving.board.totals(), serving.config.pools
        numbers = serving.crew.numbering.pools
        return Stats(
            at=time.time(),
            active=max(0, totals.active),
            accepted=totals.accepted,
            turned_away=totals.turned_away,
            waiting=sum(serving.board.queue_totals(numbers[name]).waiting for name in pools),
            retries=totals.retries,
            backends=[
                self._stats_of(name, backend)
                for name, pool in pools.items()
                for backend in pool.backends
            ],
        )

    def _stats_of(self, pool: str, config: BackendConfig) -> BackendStats:
        board, numbering = self._serving.board, self._serving.crew.numbering
        routes = [
            board.route_totals(numbering.routes[listener.name, pool, config.name])
            for listener in self._serving.config.listeners
            if listener.pool == pool
        ]
        return BackendStats(
            pool=pool,
            name=config.name,
            active=max(0, sum(board.active(numbering.backends[pool, config.name]))),
            connections=sum(route.connections for route in routes),
            connect_failures=sum(route.connect_failures for route in routes),
            bytes_up=sum(route.bytes_up for route in routes),
            bytes_down=sum(route.bytes_down for route in routes),
            connect_seconds=sum(route.connect_seconds for route in routes),
        )


class _Placement:
    """How a pool places keys."""

    def __init__(self, name: str, config: PoolConfig) -> None:
        plan = plan_pool(name, config)
        pool = build_pool(plan, LocalOccupancy(len(plan.backends)), lambda _: None)
        self.keyed = pool.keyed
        self.fingerprint = fingerprint(
            plan.strategy.name, plan.rules.key_rule, plan.strategy.table_size, plan.backends
        )
        self.shares: dict[str, float] | None = None
        # What a function says of the backends nobody can know without a connection.
        if pool.keyed and not names_function(plan.strategy.name):
            self.shares = dict(pool.tiers[0].strategy.shares())


def _tier_weights(config: PoolConfig) -> Counter[int]:
    weights: Counter[int] = Counter()
    for backend in config.backends:
        weights[backend.priority] += backend.weight
    return weights


def _why(config: BackendConfig, ejection: Transition | None, down: Transition | None) -> str:
    reasons = []
    if config.state != "enabled":
        reasons.append(f"is {config.state}")
    if config.weight == 0:
        reasons.append("has the weight 0")
    reasons += [each.reason for each in (down, ejection) if each is not None]
    return "; ".join(reasons) or "usable"


def _wall_clock(monotonic: float) -> float:
    """Return an instant of the workers' clock in seconds since the epoch."""
    return time.time() + monotonic - time.monotonic()

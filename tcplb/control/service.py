"""What a worker serves: pools, queues, engines and listeners' frontends, made from its plan.

A reload gives it another plan. What is the same in both stays as it is; what is new is made before
anything is changed; and what is gone lives on for the sessions that have it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

from tcplb.control.build import build_engine, build_pool, prepare, roster
from tcplb.control.claims import SharedOccupancy, SharedSeats
from tcplb.control.complaints import Complaints
from tcplb.control.plan import ListenerPlan, Plan, PoolPlan
from tcplb.control.scoreboard import BACKEND, LISTENER, POOL, RATE, ROUTE, Scoreboard
from tcplb.control.shared_rate import SharedRate
from tcplb.dataplane.admission import Admission
from tcplb.dataplane.counters import Counters, RouteCounters
from tcplb.dataplane.engine import Engine
from tcplb.dataplane.frontend import Frontend
from tcplb.dataplane.queueing import PoolQueue
from tcplb.dataplane.record import RecordSink
from tcplb.policy.access_list import AccessList
from tcplb.policy.pool import Pool
from tcplb.policy.rate import ClientRates
from tcplb.policy.strategy import Tables
from tcplb.policy.transition import Transition

HealthChanged = Callable[[str, Transition], None]
Cells = tuple[int, int]
"""Kind and number of something on the scoreboard."""


@dataclass(slots=True, eq=False)
class _ServedPool:
    """A pool, and what it needs to be made anew."""

    plan: PoolPlan
    pool: Pool
    queue: PoolQueue
    occupancy: SharedOccupancy
    complaints: Complaints
    rng: Random


class _Routes(dict[int, RouteCounters]):
    """The routes of a frontend, by position."""

    def __init__(self, unrouted: RouteCounters) -> None:
        super().__init__()
        self.unrouted = unrouted
        self.numbers: dict[int, int] = {}

    def __missing__(self, position: int) -> RouteCounters:
        """Return what counts for a backend that the pool got when the listener had left it."""
        return self.unrouted

    def forget(self, position: int) -> None:
        """Let go of the route to a position that nobody is at."""
        self.pop(position, None)
        self.numbers.pop(position, None)


@dataclass(slots=True, eq=False)
class _ServedListener:
    """A listener's frontend, and what it was made of."""

    plan: ListenerPlan
    frontend: Frontend
    pool: PoolPlan
    routes: _Routes


class Service:
    """All that this worker serves by the plan that is in force."""

    def __init__(
        self,
        board: Scoreboard,
        slot: int,
        counters: Counters,
        record: RecordSink | None,
        health_changed: HealthChanged,
    ) -> None:
        self._board = board
        self._slot = slot
        self._counters = counters
        self._record = record
        self._health_changed = health_changed
        self._pools: dict[str, _ServedPool] = {}
        self._listeners: dict[str, _ServedListener] = {}
        self._engines: dict[str, Engine] = {}
        self._occupancies: dict[int, SharedOccupancy] = {}
        """By the number of the pool: one that comes back goes on with that of its old sessions."""
        self._before: list[_ServedListener] = []
        """Those that have been replaced or removed and may still have sessions."""
        self._by_address: dict[int, Frontend] = {}
        self._prepared: Tables = {}
        self._known: set[Cells] = set()
        """The cells that were ours at some time, and may be so still."""
        self._planned: set[Cells] = set()
        """Those that the plan gives us."""

    # -- look ---------------------------------------------------------------------------------

    @property
    def engines(self) -> dict[str, Engine]:
        """Those that any listener has ever asked for, by name."""
        return self._engines

    @property
    def frontends(self) -> list[Frontend]:
        """Those of the listeners in the plan."""
        return [served.frontend for served in self._listeners.values()]

    def frontend(self, address: int) -> Frontend | None:
        """Return the frontend of the listener that has this address, if any has it still."""
        return self._by_address.get(address)

    def pool(self, name: str) -> Pool | None:
        """Return the pool of that name, if there is one still."""
        served = self._pools.get(name)
        return None if served is None else served.pool

    def active(self) -> Iterator[tuple[int, int]]:
        """Return the number of each listener, and how many sessions it has open."""
        return ((each.plan.number, each.frontend.all_active) for each in self._listeners.values())

    # -- another plan -------------------------------------------------------------------------

    def prepare(self, plan: Plan) -> Iterator[None]:
        """Make for the next `apply`, in small steps, what would keep the sessions waiting there."""
        for pool in plan.pools:
            served = self._pools.get(pool.name)
            known = None if served is None else (served.plan.strategy, served.plan.backends)
            if known != (pool.strategy, pool.backends):
                yield from prepare(pool, self._prepared)

    def apply(self, plan: Plan) -> None:
        """Serve by `plan` from now on. Raises StrategyError; nothing has changed then."""
        try:
            self._apply(plan)
        finally:
            self._prepared.clear()

    def _apply(self, plan: Plan) -> None:
        made = {pool.name: self._make_pool(pool) for pool in plan.pools if self._is_new(pool)}
        rosters = {
            pool.name: roster(pool, served.rng, served.complaints.hear, self._prepared)
            for pool in plan.pools
            if (served := self._pools.get(pool.name)) is not None
        }
        for listener in plan.listeners:
            if listener.engine not in self._engines:
                self._engines[listener.engine] = build_engine(listener.engine)
        now = time.monotonic()
        for pool in plan.pools:
            if pool.name not in made:
                served = self._pools[pool.name]
                _count_total(served.occupancy, pool)
                served.pool.update(rosters[pool.name], pool.rules, now=now)
                served.queue.refresh()
                made[pool.name] = replace(served, plan=pool)
        self._pools = {pool.name: made[pool.name] for pool in plan.pools}
        before = self._listeners
        self._listeners = {each.name: self._serve(each) for each in plan.listeners}
        still = {served.frontend for served in self._listeners.values()}
        self._before += [each for each in before.values() if each.frontend not in still]
        self._planned = cells_of(plan)
        self._known |= self._planned
        self._by_address = {
            address: served.frontend
            for served in self._listeners.values()
            for address in served.plan.addresses
        }

    def write_records_to(self, record: RecordSink | None) -> None:
        """Let the records of all sessions go there from now on."""
        self._record = record
        for served in (*self._listeners.values(), *self._before):
            served.frontend.record = record

    def leaving(self) -> tuple[Cells, ...]:
        """Return the cells that the plan has not got, but that may be written to all the same."""
        return tuple(self._known - self._planned)

    def take_unused(self) -> tuple[Cells, ...]:
        """Return the cells that are not written to any more since the last time."""
        if self._before:
            self._before = [each for each in self._before if each.frontend.in_use]
            for served in self._listeners.values():
                served.frontend.drop_ended()
        if self._known == self._planned:
            return ()
        unused = self._known - self._in_use()
        self._known -= unused
        for kind, number in unused:
            if kind == BACKEND:
                self._forget(number)
            elif kind == POOL:
                self._occupancies.pop(number, None)
        return tuple(unused)

    def _forget(self, position: int) -> None:
        """Have nothing to do any more with a position, which may be another backend's soon."""
        for occupancy in self._occupancies.values():
            occupancy.forget(position)
        for served in (*self._listeners.values(), *self._before):
            served.routes.forget(position)

    def _in_use(self) -> set[Cells]:
        used = set(self._planned)
        for served in self._before:
            used |= _cells_of_listener(served.plan) | _cells_of_pool(served.pool)
        for served in (*self._listeners.values(), *self._before):
            used |= {
                (ROUTE, route)
                for position, route in served.routes.numbers.items()
                if self._board.active(position)[self._slot]
            }
        backends = {number for kind, number in self._known - used if kind == BACKEND}
        return used | {
            (BACKEND, number) for number in backends if self._board.active(number)[self._slot]
        }

    def _is_new(self, pool: PoolPlan) -> bool:
        return pool.name not in self._pools

    def _make_pool(self, plan: PoolPlan) -> _ServedPool:
        if plan.number not in self._occupancies:
            self._occupancies[plan.number] = SharedOccupancy(self._board, self._slot)
        occupancy = self._occupancies[plan.number]
        _count_total(occupancy, plan)
        complaints = Complaints(plan, self._counters, time.monotonic)
        # Seeded by the system: balancers that ejected together must not come back together.
        rng = Random()
        pool = build_pool(plan, occupancy, complaints.hear, rng, self._prepared)
        queue = PoolQueue(pool, time.monotonic, self._board.queue(self._slot, plan.number))
        return _ServedPool(plan, pool, queue, occupancy, complaints, rng)

    def _serve(self, plan: ListenerPlan) -> _ServedListener:
        """Return what serves a listener: what does so already, if it can go on."""
        served, pool = self._listeners.get(plan.name), self._pools[plan.pool]
        same_pool = served is not None and served.frontend.pool is pool.pool
        if served is not None and same_pool:
            routes = served.routes  # with those of backends that are gone: sessions may have them
        else:
            routes = _Routes(self._board.route(self._slot, plan.unrouted))
        for position, number in zip(pool.plan.positions, plan.routes, strict=True):
            routes[position] = self._board.route(self._slot, number)
            routes.numbers[position] = number
        if served is not None and same_pool and _same_but_for_numbers(served.plan, plan):
            served.frontend.refresh()
            return replace(served, plan=plan, pool=pool.plan)
        frontend = self._make_frontend(plan, pool, routes, served)
        return _ServedListener(plan, frontend, pool.plan, routes)

    def _make_frontend(
        self,
        plan: ListenerPlan,
        pool: _ServedPool,
        routes: _Routes,
        before: _ServedListener | None,
    ) -> Frontend:
        return Frontend(
            name=plan.name,
            pool=pool.pool,
            engine=self._engines[plan.engine],
            timeouts=plan.timeouts,
            counters=self._counters,
            record=self._record,
            health_changed=self._health_changed,
            routes=routes,
            unrouted=routes.unrouted,
            admission=self._make_admission(plan, before),
            shared_queue=pool.queue,
            before=None if before is None else before.frontend,
        )

    def _make_admission(self, plan: ListenerPlan, before: _ServedListener | None) -> Admission:
        board, slot, limit = self._board, self._slot, plan.max_connections
        if before is not None and before.plan.client_rate == plan.client_rate:
            rates = before.frontend.admission.client_rates  # it knows how fast clients have been
        else:
            rates = ClientRates(plan.client_rate) if plan.client_rate.rate.per_second else None
        started, base = board.rate_started(plan.rate_number), board.rate_base(plan.rate_number)
        return Admission(
            access=AccessList(plan.access),
            client_rates=rates,
            max_connections=limit,
            seats=SharedSeats(board.listener_seats(plan.number), slot, limit) if limit else None,
            rate=SharedRate(plan.rate, started, base, slot) if plan.rate.per_second else None,
        )


def _count_total(occupancy: SharedOccupancy, plan: PoolPlan) -> None:
    # Only the bound of load needs to know how many there are in the whole pool.
    occupancy.count_total(plan.number if plan.rules.hash_balance_factor else None)


def _same_but_for_numbers(one: ListenerPlan, other: ListenerPlan) -> bool:
    return replace(one, routes=other.routes, addresses=other.addresses) == other


def cells_of(plan: Plan) -> set[Cells]:
    """Return the cells that belong to what is in `plan`."""
    pools = (_cells_of_pool(pool) for pool in plan.pools)
    listeners = (_cells_of_listener(listener) for listener in plan.listeners)
    return set().union(*pools, *listeners)


def _cells_of_pool(plan: PoolPlan) -> set[Cells]:
    return {(POOL, plan.number), *((BACKEND, position) for position in plan.positions)}


def _cells_of_listener(plan: ListenerPlan) -> set[Cells]:
    own = {(LISTENER, plan.number), (RATE, plan.rate_number), (ROUTE, plan.unrouted)}
    return own | {(ROUTE, route) for route in plan.routes}

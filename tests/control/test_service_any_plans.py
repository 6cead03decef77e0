"""Whatever plans come, in whatever order workers hear of them: no two things share a cell.

Two workers go from plan to plan, each in its own time. They take leases and give them back, leave
dials on trial behind, and are killed and replaced. The supervisor hears of them late, too.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tcplb.config.models import Config
from tcplb.control.plan import Plan
from tcplb.control.scoreboard import BACKEND, LISTENER, POOL, RATE, ROUTE, Scoreboard
from tcplb.control.service import Service
from tcplb.dataplane.counters import Counters
from tcplb.dataplane.frontend import Frontend
from tcplb.dataplane.termination import Termination
from tcplb.policy.lease import Lease
from tcplb.policy.outcome import Outcome
from tests.control.service_model import LAYOUT, SLOTS, Plans, backends, settings

Thing = tuple[str, ...]

POOLS = st.fixed_dictionaries(
    {
        "backends": st.sets(st.sampled_from("abcd"), min_size=1).map(sorted),
        "port": st.sampled_from([80, 81]),
        "hash_balance_factor": st.sampled_from([0, 0, 200]),
        "strategy": st.sampled_from(["hash", "round-robin", "least-connections"]),
        "max_connections": st.sampled_from([0, 2]),
    }
)
LISTENERS = st.fixed_dictionaries(
    {
        "pool": st.sampled_from("pq"),
        "max_connections": st.sampled_from([0, 2]),
        "max_new_per_second": st.sampled_from([0, 5]),
        "idle_timeout": st.sampled_from(["7s", "8s"]),
    }
)


def config_of(pools: dict[str, Any], listeners: dict[str, Any]) -> Config:
    """Return settings with these, and with a pool for each listener to go to."""
    tables = {}
    for name, pool in pools.items():
        limit = {"max_connections": pool["max_connections"]}
        members = backends(*pool["backends"], port=pool["port"], **limit)
        factor = pool["hash_balance_factor"] if pool["strategy"] == "hash" else 0
        tables[name] = {
            "backends": members,
            "strategy": pool["strategy"],
            **({"hash_balance_factor": factor} if factor else {}),
        }
    spare = next(iter(tables))
    return settings(
        {
            name: {**each, "pool": each["pool"] if each["pool"] in tables else spare}
            for name, each in listeners.items()
        },
        **tables,
    )


CONFIGS = st.builds(
    config_of,
    st.dictionaries(st.sampled_from("pq"), POOLS, min_size=1),
    st.dictionaries(st.sampled_from("xyz"), LISTENERS, min_size=1),
)


@dataclass(eq=False)
class Session:
    """What a session has to give back."""

    frontend: Frontend
    lease: Lease | None
    seated: bool
    late: bool = False
    """Whether it is over, but for its dial on trial."""


@dataclass(eq=False)
class Worker:
    """A worker's process, as it was started."""

    slot: int
    service: Service
    plan: Plan
    """The one that it was started with, or goes by."""
    ready: bool = False
    inbox: deque[Plan] = field(default_factory=deque)
    sessions: list[Session] = field(default_factory=list)
    told: deque[tuple[str, int, tuple[tuple[int, int], ...]]] = field(default_factory=deque)
    """What the supervisor has not read yet."""

    def apply(self, plan: Plan) -> None:
        self.service.apply(plan)
        self.plan = plan

    def routes(self) -> set[Thing]:
        """Those that it counts by name."""
        pools = {pool.name: pool for pool in self.plan.pools}
        return {
            (each.name, each.pool, backend.name)
            for each in self.plan.listeners
            for backend in pools[each.pool].backends
        }


class Reloads(RuleBasedStateMachine):
    """The supervisor, two slots for workers, and what should be counted."""

    def __init__(self) -> None:
        super().__init__()
        self.board = Scoreboard.create(SLOTS, LAYOUT)
        self.plans = Plans(self.board)
        self.plans.next(config_of({"p": SIMPLE}, {"x": {"pool": "p"}}), ())
        self.runner = asyncio.Runner()
        self.workers: dict[int, Worker] = {}
        self.connects: Counter[Thing] = Counter()
        self.unsure: set[Thing] = set()
        """Routes that may have been counted as that of sessions without a backend, or reverse."""
        for slot in range(SLOTS):
            self.launch(slot)
            self.get_ready(self.workers[slot])

    def teardown(self) -> None:
        """In the end everybody goes home: nothing may be left of any count."""
        for worker in self.workers.values():
            self.get_ready(worker)
            while worker.inbox:
                self.hear(worker)
            for session in tuple(worker.sessions):
                self.finish(worker, session)
            self.publish(worker)
            while worker.told:
                self.read(worker)
        self.check()
        assert [each.leaving for each in self.plans.numbering.each()] == [{}] * 5
        columns = (self.board.active(n) for n in range(LAYOUT.backends))
        totals = (self.board.pool_active(n) for n in range(LAYOUT.pools))
        seats = (self.board.listener_seats(n) for n in range(LAYOUT.listeners))
        assert not any(any(column) for column in (*columns, *totals, *seats))
        self.runner.close()
        self.board.close()

    # -- what happens ---------------------------------------------------------------------------

    def launch(self, slot: int) -> None:
        assert self.plans.last is not None
        service = Service(self.board, slot, Counters(), None, lambda *_: None)
        self.workers[slot] = Worker(slot, service, self.plans.last)

    def get_ready(self, worker: Worker) -> None:
        if not worker.ready:
            worker.ready = True
            self.run(lambda: worker.apply(worker.plan))
            if worker.plan is not self.plans.last and self.plans.last is not None:
                worker.inbox.append(self.plans.last)

    def hear(self, worker: Worker) -> None:
        plan = worker.inbox.popleft()
        self.run(lambda: worker.apply(plan))
        worker.told.append(("follows", plan.generation, worker.service.leaving()))

    def publish(self, worker: Worker) -> None:
        self.board.publish(worker.slot, 1.0, Counters(), worker.service.active())
        unused = worker.service.take_unused()
        if unused:
            worker.told.append(("unused", worker.plan.generation, unused))

    def read(self, worker: Worker) -> None:
        what, generation, cells = worker.told.popleft()
        getattr(self.plans.leaving, what)(worker.slot, generation, cells)
        self.forget_free()

    def forget_free(self) -> None:
        routes = self.plans.numbering.routes
        known = routes.in_use.keys() | routes.leaving.keys()
        for thing in [thing for thing in self.connects if thing not in known]:
            del self.connects[thing]
        self.unsure &= known

    def run(self, work: Any) -> None:
        async def main() -> None:
            work()

        self.runner.run(main())

    def some_worker(self, data: st.DataObject, among: Iterable[Worker]) -> Worker:
        return data.draw(st.sampled_from(sorted(among, key=lambda worker: worker.slot)))

    # -- the supervisor -------------------------------------------------------------------------

    @rule(config=CONFIGS)
    def reload(self, config: Config) -> None:
        plan = self.plans.next(config, [worker.slot for worker in self.workers.values()])
        for worker in self.workers.values():
            if worker.ready:
                worker.inbox.append(plan)
        self.forget_free()

    @precondition(lambda self: any(worker.told for worker in self.workers.values()))
    @rule(data=st.data())
    def supervisor_reads(self, data: st.DataObject) -> None:
        self.read(self.some_worker(data, [each for each in self.workers.values() if each.told]))

    @rule(slot=st.integers(0, SLOTS - 1))
    def worker_is_killed(self, slot: int) -> None:
        worker = self.workers[slot]
        while worker.told:  # what it has said is read before its end is seen
            self.read(worker)
        self.board.retire(slot, self.plans.leaving.tops)
        self.plans.leaving.gone(slot)
        self.forget_free()
        self.launch(slot)

    # -- the workers ----------------------------------------------------------------------------

    @precondition(lambda self: any(not worker.ready for worker in self.workers.values()))
    @rule()
    def workers_get_ready(self) -> None:
        for worker in self.workers.values():
            self.get_ready(worker)

    @precondition(lambda self: any(worker.inbox for worker in self.workers.values()))
    @rule(data=st.data())
    def worker_hears(self, data: st.DataObject) -> None:
        self.hear(self.some_worker(data, [each for each in self.workers.values() if each.inbox]))

    @rule(slot=st.integers(0, SLOTS - 1))
    def worker_publishes(self, slot: int) -> None:
        if self.workers[slot].ready:
            self.publish(self.workers[slot])

    # -- sessions -------------------------------------------------------------------------------

    @rule(slot=st.integers(0, SLOTS - 1), which=st.integers(0, 2), key=st.binary(max_size=2))
    def session_begins(self, slot: int, which: int, key: bytes) -> None:
        worker = self.workers[slot]
        if not worker.ready:
            return
        frontends = worker.service.frontends
        frontend = frontends[which % len(frontends)]
        admission = frontend.admission
        if admission.rate is not None and not admission.rate.try_take(1.0):
            return
        if admission.seats is not None and not admission.seats.try_take():
            return
        frontend.active += 1
        worker.sessions.append(Session(frontend, None, admission.seats is not None))

    @precondition(lambda self: any(worker.sessions for worker in self.workers.values()))
    @rule(data=st.data(), key=st.binary(max_size=2), late=st.booleans())
    def session_gets_a_lease(self, data: st.DataObject, key: bytes, late: bool) -> None:
        worker = self.some_worker(data, [each for each in self.workers.values() if each.sessions])
        session = data.draw(st.sampled_from(worker.sessions))
        if session.lease is not None:
            return
        frontend = session.frontend
        session.lease = frontend.pool.acquire(key, now=1.0)
        if session.lease is None:
            return
        frontend.routes[session.lease.position].count_connect(0.001)
        self.note(worker, frontend, session.lease)
        if late:
            session.late = True
            frontend.trials += 1
            self.leave(session)

    @precondition(lambda self: any(worker.sessions for worker in self.workers.values()))
    @rule(data=st.data())
    def session_ends(self, data: st.DataObject) -> None:
        worker = self.some_worker(data, [each for each in self.workers.values() if each.sessions])
        self.finish(worker, data.draw(st.sampled_from(worker.sessions)))

    def note(self, worker: Worker, frontend: Frontend, lease: Lease) -> None:
        thing = (frontend.name, frontend.pool.name, lease.backend.name)
        if thing in worker.routes():
            self.connects[thing] += 1
        else:
            self.unsure |= {thing, (*thing[:2], "")}

    def leave(self, session: Session) -> None:
        frontend = session.frontend
        if session.seated and frontend.admission.seats is not None:
            frontend.admission.seats.give_back()
        frontend.active -= 1

    def finish(self, worker: Worker, session: Session) -> None:
        frontend, lease = session.frontend, session.lease
        worker.sessions.remove(session)
        if lease is None:
            frontend.unrouted.count_end(Termination.NO_BACKEND, 1.0)
        else:
            if session.late:
                frontend.pool.observe(lease, Outcome.REFUSED, now=1.0)
                frontend.routes[lease.position].count_failure()
                frontend.trials -= 1
            else:
                frontend.routes[lease.position].count_end(Termination.NORMAL, 1.0)
            frontend.queue.release(lease)
        if not session.late:
            self.leave(session)

    # -- what holds -----------------------------------------------------------------------------

    @invariant()
    def check(self) -> None:
        self.nothing_is_in_cells_that_nobody_has()
        self.backends_have_their_sessions()
        self.listeners_have_their_seats()
        self.routes_have_their_connects()

    def nothing_is_in_cells_that_nobody_has(self) -> None:
        numbering = self.plans.numbering
        for kind, numbers in enumerate(numbering.each()):
            owned = {*numbers.in_use.values(), *numbers.leaving.values()}
            for number in set(range(numbers.top)) - owned:
                assert not self.cells(kind, number), (numbers.kind, number)

    def cells(self, kind: int, number: int) -> bool:
        """Whether anything is in the cells of that number."""
        board = self.board
        match kind:
            case _ if kind == BACKEND:
                return any(board.active(number))
            case _ if kind == POOL:
                return any(board.pool_active(number)) or board.queue_totals(number).waiting > 0
            case _ if kind == LISTENER:
                return any(board.listener_seats(number)) or board.listener_active(number) > 0
            case _ if kind == RATE:
                return any(board.rate_started(number)) or any(board.rate_base(number))
            case _:
                assert kind == ROUTE
                totals = board.route_totals(number)
                return bool(
                    totals.connections or totals.connect_failures or any(totals.terminations)
                )

    def backends_have_their_sessions(self) -> None:
        expected: Counter[Thing] = Counter(
            (session.frontend.pool.name, session.lease.backend.name)
            for worker in self.workers.values()
            for session in worker.sessions
            if session.lease is not None
        )
        numbers = self.plans.numbering.backends
        for thing, number in (numbers.in_use | numbers.leaving).items():
            assert sum(self.board.active(number)) == expected.pop(thing, 0), thing  # type: ignore[call-overload]
        assert not expected

    def listeners_have_their_seats(self) -> None:
        expected: Counter[str] = Counter(
            session.frontend.name
            for worker in self.workers.values()
            for session in worker.sessions
            if session.seated and not session.late
        )
        numbers = self.plans.numbering.listeners
        for name, number in (numbers.in_use | numbers.leaving).items():
            assert sum(self.board.listener_seats(number)) == expected.pop(name, 0)  # type: ignore[call-overload]
        assert not expected

    def routes_have_their_connects(self) -> None:
        numbers = self.plans.numbering.routes
        for thing, number in (numbers.in_use | numbers.leaving).items():
            if thing not in self.unsure:
                counted = self.connects[thing]  # type: ignore[index]
                assert self.board.route_totals(number).connections == counted, thing


SIMPLE = {
    "backends": ["a", "b"],
    "port": 80,
    "hash_balance_factor": 0,
    "strategy": "round-robin",
    "max_connections": 0,
}

Reloads.TestCase.settings = hypothesis_settings(max_examples=100, stateful_step_count=50)
TestReloads = Reloads.TestCase

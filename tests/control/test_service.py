"""A worker that gets one plan after the other: what goes on, what is new, and what is let go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tcplb.config.models import Config
from tcplb.control.scoreboard import BACKEND, LISTENER, POOL, RATE, ROUTE, Scoreboard
from tcplb.control.service import Service, cells_of
from tcplb.dataplane.counters import Counters
from tcplb.dataplane.frontend import Frontend
from tcplb.dataplane.queueing import Waiter
from tcplb.dataplane.termination import Termination
from tcplb.errors import StrategyError
from tcplb.policy.lease import Lease
from tcplb.policy.outcome import Outcome
from tcplb.policy.pool import Pool
from tcplb.policy.transition import State, Transition
from tests.control.service_model import LAYOUT, SLOTS, Plans, backends, settings

ABC = {"backends": backends("a", "b", "c")}
AB = {"backends": backends("a", "b")}
BALANCED = {"strategy": "hash", "hash_balance_factor": 150}


class Worker:
    """A service in slot 0, and the plans that it gets."""

    def __init__(self, board: Scoreboard) -> None:
        self.board = board
        self.plans = Plans(board)
        self.news: list[tuple[str, Transition]] = []
        self.service = Service(board, 0, Counters(), None, lambda *news: self.news.append(news))

    def go_by(self, config: Config) -> None:
        self.service.apply(self.plans.next(config))

    def serve(self, listener: dict[str, Any] | None = None, /, **pools: Any) -> Frontend:
        """Serve with one listener, x; return its frontend."""
        self.go_by(settings({"x": {"pool": "web", **(listener or {})}}, **(pools or {"web": ABC})))
        return self.frontend("x")

    def frontend(self, listener: str) -> Frontend:
        (found,) = (each for each in self.service.frontends if each.name == listener)
        return found

    def pool(self, name: str = "web") -> Pool:
        pool = self.service.pool(name)
        assert pool is not None
        return pool

    def tell(self) -> set[tuple[int, int]]:
        """Tell the supervisor what is not used any more, and return it."""
        assert self.plans.last is not None
        unused = self.service.take_unused()
        self.plans.leaving.unused(0, self.plans.last.generation, unused)
        return set(unused)

    def left(self) -> list[object]:
        """Return all that is leaving."""
        return [thing for each in self.plans.numbering.each() for thing in each.leaving]


def begin(frontend: Frontend, backend: str) -> Lease:
    """Begin a session with a backend, as a session does."""
    others = [each.name for each in frontend.pool.backends if each.name != backend]
    frontend.active += 1
    lease = frontend.pool.acquire(b"", now=1.0, exclude=others)
    assert lease is not None
    frontend.routes[lease.position].count_connect(0.001)
    return lease


def end(frontend: Frontend, lease: Lease) -> None:
    frontend.routes[lease.position].count_bytes(1, 1)
    frontend.queue.release(lease)
    frontend.active -= 1


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    board = Scoreboard.create(SLOTS, LAYOUT)
    worker = Worker(board)
    yield worker
    for engine in worker.service.engines.values():
        await engine.shutdown()
    board.close()


# -- what goes on ---------------------------------------------------------------------------------


async def test_the_same_plan_changes_nothing(worker: Worker) -> None:
    frontend, pool = worker.serve(), worker.pool()
    strategy = pool.tiers[0].strategy
    assert worker.serve() is frontend
    assert worker.pool() is pool
    assert pool.tiers[0].strategy is strategy
    assert worker.tell() == set()


async def test_other_backends_are_no_other_listener(worker: Worker) -> None:
    frontend = worker.serve()
    assert worker.serve(web=AB) is frontend
    assert [each.name for each in frontend.pool.backends] == ["a", "b"]


@pytest.mark.parametrize(
    "change",
    [
        {"idle_timeout": "7s"},
        {"connect_timeout": "7s"},
        {"max_connections": 5},
        {"max_new_per_second": 5},
        {"access": ["deny 10.0.0.0/8"]},
        {"per_client": {"max_new_per_second": 5}},
        {"engine": "splice"},
    ],
)
async def test_sessions_of_before_have_the_frontend_of_before(
    worker: Worker, change: dict[str, Any]
) -> None:
    before = worker.serve()
    lease = begin(before, "a")
    after = worker.serve(change)
    assert after is not before
    assert after.pool is before.pool
    assert after.queue is before.queue
    assert (after.all_active, before.active) == (1, 1)
    assert dict(worker.service.active()) == {0: 1}
    end(before, lease)
    assert worker.tell() <= {(RATE, 0)}
    assert after.before is None


async def test_a_newcomer_has_a_route_of_its_own(worker: Worker) -> None:
    worker.serve(web=AB)
    begin(worker.serve(), "c")
    route = worker.plans.numbering.routes["x", "web", "c"]
    assert worker.board.route_totals(route).connections == 1
    begin(worker.serve({"idle_timeout": "7s"}), "c")
    assert worker.board.route_totals(route).connections == 2


async def test_the_new_time_outs_are_those_of_new_sessions(worker: Worker) -> None:
    before = worker.serve()
    after = worker.serve({"idle_timeout": "7s"})
    assert (before.timeouts.idle, after.timeouts.idle) == (3600.0, 7.0)


async def test_addresses_find_their_frontends(worker: Worker) -> None:
    listeners = {"x": {"pool": "web"}, "y": {"pool": "web"}}
    worker.go_by(settings(listeners, web=ABC))
    assert worker.service.frontend(ord("x")) is worker.frontend("x")
    assert worker.service.frontend(ord("y")) is worker.frontend("y")
    worker.serve()
    assert worker.service.frontend(ord("y")) is None


async def test_rules_of_the_pool_are_looked_at_again(worker: Worker) -> None:
    frontend = worker.serve()
    assert (frontend.listens, frontend.by_destination) == (False, False)
    web = {**ABC, "strategy": "hash", "hash_key": "destination", "eject": {"first_byte": True}}
    assert worker.serve(web=web) is frontend
    assert (frontend.listens, frontend.by_destination) == (True, True)


async def test_a_queue_of_another_length(worker: Worker) -> None:
    queue = worker.serve().queue
    worker.serve(web={**ABC, "queue": {"size": 0}})
    assert worker.frontend("x").queue is queue
    nobody: Any = None
    assert await queue.wait_for_room(Waiter(nobody)) is Termination.ALL_FULL


async def test_how_fast_clients_have_been_is_not_forgotten(worker: Worker) -> None:
    before = worker.serve({"per_client": {"max_new_per_second": 1, "burst": 1}})
    assert before.admission.refusal("10.0.0.1", 5.0) is None
    per_client = {"per_client": {"max_new_per_second": 1, "burst": 1}}
    after = worker.serve({"idle_timeout": "7s", **per_client})
    assert after.admission.refusal("10.0.0.1", 5.0) is not None
    other = worker.serve({"per_client": {"max_new_per_second": 1, "burst": 2}})
    assert other.admission.refusal("10.0.0.1", 5.0) is None


async def test_places_at_a_listener_are_counted_on(worker: Worker) -> None:
    seats = worker.serve({"max_connections": 3}).admission.seats
    assert seats is not None
    assert [seats.try_take() for _ in range(4)] == [True, True, True, False]
    more = worker.serve({"max_connections": 4}).admission.seats
    assert more is not None
    assert [more.try_take(), more.try_take()] == [True, False]
    seats.give_back()
    assert more.try_take()


async def test_health_goes_on(worker: Worker) -> None:
    frontend = worker.serve(web={**ABC, "eject": {"failures": 1}})
    lease = begin(frontend, "a")
    assert frontend.pool.observe(lease, Outcome.REFUSED, now=1.0) is not None
    end(frontend, lease)
    worker.serve(web={**AB, "eject": {"failures": 1}})
    assert worker.pool().state(worker.pool().backends[0]) is State.EJECTED


async def test_records_go_where_the_last_word_says(worker: Worker) -> None:
    before = worker.serve()
    begin(before, "a")
    after = worker.serve({"idle_timeout": "7s"})
    records: list[Any] = []
    worker.service.write_records_to(records.append)
    for frontend in (before, after, worker.serve({"idle_timeout": "8s"})):
        assert frontend.record == records.append


async def test_a_strategy_that_cannot_be_loaded_changes_nothing(worker: Worker) -> None:
    frontend, pool = worker.serve(), worker.pool()
    broken = {**AB, "strategy": "no_such_module_at_all:pick"}
    for pools in ({"web": broken}, {"web": AB, "new": broken}):
        with pytest.raises(StrategyError):
            worker.serve({"idle_timeout": "7s"}, **pools)
        assert worker.frontend("x") is frontend
        assert worker.pool() is pool
        assert [each.name for each in pool.backends] == ["a", "b", "c"]
        assert worker.service.pool("new") is None
    worker.serve()
    assert worker.frontend("x") is frontend


# -- what is let go -------------------------------------------------------------------------------


async def test_cells_of_all_that_is_gone_are_told_once(worker: Worker) -> None:
    listeners: dict[str, dict[str, Any]] = {
        "x": {"pool": "web"},
        "y": {"pool": "mail", "max_new_per_second": 5},
    }
    worker.go_by(settings(listeners, web=ABC, mail={"backends": backends("d")}))
    before = worker.plans.last
    worker.serve(web=AB)
    after = worker.plans.last
    assert before is not None
    assert after is not None
    gone = cells_of(before) - cells_of(after)
    assert set(worker.service.leaving()) == gone
    assert {kind for kind, _ in gone} == {BACKEND, POOL, LISTENER, RATE, ROUTE}
    assert worker.tell() == gone
    assert worker.tell() == set()
    assert worker.left() == []


async def test_a_backend_is_in_use_as_long_as_it_has_a_session(worker: Worker) -> None:
    frontend = worker.serve()
    lease = begin(frontend, "c")
    worker.serve(web=AB)
    assert worker.tell() == set()
    assert worker.left() == [("web", "c"), ("x", "web", "c")]
    end(frontend, lease)
    assert worker.tell() == {(BACKEND, 2), (ROUTE, 3)}
    assert worker.left() == []


async def test_a_backend_that_comes_back_has_its_old_number_and_counts(worker: Worker) -> None:
    frontend = worker.serve()
    lease = begin(frontend, "c")
    worker.serve(web=AB)
    worker.serve()
    assert worker.pool().active(worker.pool().backends[2]) == 1
    assert worker.board.route_totals(3).connections == 1
    end(frontend, lease)
    assert worker.tell() == set()


async def test_a_listener_that_is_gone_is_in_use_as_long_as_it_has_a_session(
    worker: Worker,
) -> None:
    worker.go_by(settings({"x": {"pool": "web"}, "y": {"pool": "mail"}}, web=AB, mail=ABC))
    frontend = worker.frontend("y")
    lease = begin(frontend, "b")
    worker.serve(web=AB)
    assert worker.tell() == set()
    assert worker.service.pool("mail") is None
    waiting = begin(frontend, "a")  # whoever waited in its queue gets what was there
    end(frontend, lease)
    assert worker.tell() == set()
    end(frontend, waiting)
    assert len(worker.tell()) == 1 + 3 + 1 + 1 + 4
    assert worker.left() == []


async def test_a_listener_that_moves_to_another_pool_counts_for_both(worker: Worker) -> None:
    pools = {"web": AB, "mail": ABC}
    before = worker.serve(None, **pools)
    lease = begin(before, "b")
    after = worker.serve({"pool": "mail"}, **pools)
    other = begin(after, "b")
    assert after.all_active == 2
    assert worker.tell() == set()
    end(before, lease)
    assert worker.tell() == {(ROUTE, 0), (ROUTE, 1), (ROUTE, 2)}
    end(after, other)
    assert dict(worker.service.active()) == {0: 0}


async def test_a_dial_on_trial_outlives_its_session_and_its_listener(worker: Worker) -> None:
    worker.go_by(settings({"x": {"pool": "web"}, "y": {"pool": "mail"}}, web=AB, mail=ABC))
    frontend = worker.frontend("y")
    lease = begin(frontend, "b")
    frontend.trials += 1
    frontend.active -= 1  # the client has left
    worker.serve(web=AB)
    assert worker.tell() == set()
    frontend.routes[lease.position].count_failure()
    frontend.queue.release(lease)
    frontend.trials -= 1
    assert len(worker.tell()) == 10
    assert worker.left() == []


async def test_a_route_is_forgotten_with_its_backend(worker: Worker) -> None:
    """The number of the backend may be another pool's soon, which is always busy."""
    listeners = {"x": {"pool": "web"}, "y": {"pool": "mail"}, "z": {"pool": "mail"}}
    worker.go_by(settings(listeners, web=ABC, mail=AB))
    worker.go_by(settings(listeners, web=AB, mail=AB))
    assert worker.tell() == {(BACKEND, 2), (ROUTE, 3)}
    worker.go_by(settings(listeners, web=AB, mail=ABC))
    assert worker.plans.numbering.backends["mail", "c"] == 2
    assert worker.plans.numbering.routes["y", "mail", "c"] == 3
    begin(worker.frontend("z"), "c")
    worker.go_by(settings({**listeners, "y": {"pool": "web"}}, web=AB, mail=ABC))
    assert (ROUTE, 3) in worker.tell()


async def test_a_pool_that_comes_back_counts_with_its_old_sessions(worker: Worker) -> None:
    """Both write to the same cells, and a total that begins or ends has to know of both."""
    balanced = {**ABC, **BALANCED}
    listeners = {"x": {"pool": "web"}, "y": {"pool": "mail"}}
    for first, then in ((ABC, balanced), (balanced, ABC)):
        worker.go_by(settings(listeners, web=AB, mail=first))
        frontend = worker.frontend("y")
        lease = begin(frontend, "b")
        worker.serve(web=AB)
        worker.go_by(settings(listeners, web=AB, mail=first))
        worker.go_by(settings(listeners, web=AB, mail=then))
        number = worker.plans.numbering.pools["mail"]
        assert sum(worker.board.pool_active(number)) == (1 if then is balanced else 0)
        end(frontend, lease)
        assert list(worker.board.pool_active(number)) == [0] * (SLOTS + 1)
        worker.serve(web=AB)
        worker.tell()
        assert worker.left() == []


async def test_a_backend_that_a_listener_never_had_counts_as_none(worker: Worker) -> None:
    pools = {"web": AB, "mail": AB}
    before = worker.serve(None, **pools)
    held = begin(before, "a")
    worker.serve({"pool": "mail"}, web=ABC, mail=AB)
    lease = begin(before, "c")  # as a session that waited in the queue may get it
    assert before.unrouted.connections == 1
    end(before, lease)
    end(before, held)
    worker.tell()
    assert worker.left() == []


# -- what would take long -------------------------------------------------------------------------


async def test_what_was_prepared_is_used_and_only_what_is_new_is_prepared(worker: Worker) -> None:
    keyed = {"strategy": "hash", **ABC}
    worker.serve(web=keyed, api=keyed)
    heavier = {"strategy": "hash", "backends": backends("a", "b", "c", weight=9)}
    plan = worker.plans.next(settings({"x": {"pool": "web"}}, web=heavier, api=keyed, new=heavier))
    before = worker.pool().tiers[0].strategy
    first = sum(1 for _ in worker.service.prepare(plan))
    assert worker.pool().tiers[0].strategy is before
    worker.service.apply(plan)
    after = worker.pool().tiers[0].strategy
    assert after is not before
    # Two pools are the same, so they got what was prepared.
    assert worker.pool("new").tiers[0].strategy is after
    assert first > 0
    assert sum(1 for _ in worker.service.prepare(plan)) == 0

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.config.models import BackendConfig, Config, ListenerConfig, PoolConfig
from tcplb.control.metrics_traffic import traffic_metrics
from tcplb.control.plan import Plan, new_numbering, roomy_layout
from tcplb.control.scoreboard import ROUTE, Scoreboard
from tcplb.dataplane.counters import CONNECT_BOUNDS, SESSION_BOUNDS, Counters, RouteCounters
from tcplb.dataplane.termination import Termination
from tests.control.metrics_page import Page, buckets_of, plan_of, planned

SLOTS = 3
RETIRED = SLOTS
REASONS = {
    "denied",
    "too_fast",
    "no_backend",
    "all_full",
    "queue_full",
    "queue_timed_out",
    "connect_failed",
    "connect_timed_out",
    "no_resources",
}


def pool(*names: str) -> PoolConfig:
    return PoolConfig(
        backends=tuple(BackendConfig(name=name, address="127.0.0.1:80") for name in names)
    )


def listener(name: str, to: str) -> ListenerConfig:
    return ListenerConfig(name=name, bind="127.0.0.1:0", pool=to)


CONFIG = Config(
    listeners=(listener("front", "web"), listener("side", "web"), listener("db", "database")),
    pools={"web": pool("w1", "w2"), "database": pool("d1", "w1")},
)
ROUTES = [
    ("front", "web", "w1"),
    ("front", "web", "w2"),
    ("front", "web", ""),
    ("side", "web", "w1"),
    ("side", "web", "w2"),
    ("side", "web", ""),
    ("db", "database", "d1"),
    ("db", "database", "w1"),
    ("db", "database", ""),
]


@dataclass
class Stage:
    plan: Plan
    board: Scoreboard

    def route(self, where: tuple[str, str, str], slot: int = 0) -> RouteCounters:
        """The cells of a route, found without the code that is tested."""
        name, _, backend = where
        listener = next(each for each in self.plan.listeners if each.name == name)
        if not backend:
            return self.board.route(slot, listener.unrouted)
        pool = next(each for each in self.plan.pools if each.name == listener.pool)
        index = [each.name for each in pool.backends].index(backend)
        return self.board.route(slot, listener.routes[index])

    def page(self) -> Page:
        return Page.of(traffic_metrics(self.plan, self.board))


@pytest.fixture
def stage() -> Iterator[Stage]:
    with planned(CONFIG, slots=SLOTS) as (plan, board):
        yield Stage(plan, board)


def named(where: tuple[str, str, str]) -> dict[str, str]:
    return dict(zip(("listener", "pool", "backend"), where, strict=True))


# -- what there is at the start ---------------------------------------------------------------


def test_at_the_start_all_is_0_and_the_page_is_small(stage: Stage) -> None:
    page = stage.page()
    assert set(page.samples.values()) == {0.0}
    ends = page["tcplb_connections_total"]
    assert {frozenset({*named(where).items(), ("termination", "--"), ("reason", "normal")})
            for where in ROUTES} == set(ends)  # fmt: skip
    assert len(page["tcplb_bytes_total"]) == 2 * 6
    assert len(page["tcplb_retries_total"]) == 6


def test_kinds(stage: Stage) -> None:
    assert stage.page().kinds == {
        "tcplb_connections_total": "counter",
        "tcplb_listener_connections_active": "gauge",
        "tcplb_bytes_total": "counter",
        "tcplb_connect_duration_seconds": "histogram",
        "tcplb_connect_failures_total": "counter",
        "tcplb_retries_total": "counter",
        "tcplb_session_duration_seconds": "histogram",
        "tcplb_refused_total": "counter",
    }


def test_every_reason_to_refuse_is_there_from_the_start(stage: Stage) -> None:
    page = stage.page()
    for name in ("front", "side", "db"):
        assert page.by("tcplb_refused_total", "reason", listener=name) == dict.fromkeys(REASONS, 0)


# -- counts -----------------------------------------------------------------------------------


def test_each_way_to_end_is_a_series_of_its_own(stage: Stage) -> None:
    where = ("front", "web", "w2")
    for number, termination in enumerate(Termination, start=1):
        for _ in range(number):
            stage.route(where).count_end(termination, 0.1)
    page = stage.page()
    assert {
        (dict(labels)["termination"], dict(labels)["reason"]): value
        for labels, value in page["tcplb_connections_total"].items()
        if ("backend", "w2") in labels and ("listener", "front") in labels
    } == {
        (each.code, each.name.lower()): number for number, each in enumerate(Termination, start=1)
    }


def test_refusals_are_the_ends_of_sessions_without_a_backend(stage: Stage) -> None:
    for where in ROUTES:
        for termination in Termination:
            stage.route(where).count_end(termination, 0.0)
    stage.route(("side", "web", "")).count_end(Termination.TOO_FAST, 0.0)
    page = stage.page()
    once = dict.fromkeys(REASONS, 1)
    assert page.by("tcplb_refused_total", "reason", listener="front") == once
    assert page.by("tcplb_refused_total", "reason", listener="db") == once
    assert page.by("tcplb_refused_total", "reason", listener="side") == {**once, "too_fast": 2}


def test_bytes_dials_and_retries(stage: Stage) -> None:
    here = ("side", "web", "w1")
    route = stage.route(here)
    route.count_bytes(100, 2000)
    route.count_bytes(11, 0)
    for _ in range(3):
        route.count_failure()
    route.count_retry()
    for seconds in (0.0001, 0.0005, 0.0006, 99.0):
        route.count_connect(seconds)
    page = stage.page()
    where = named(here)
    assert page.by("tcplb_bytes_total", "direction", **where) == {"up": 111, "down": 2000}
    assert page.value("tcplb_connect_failures_total", **where) == 3
    assert page.value("tcplb_retries_total", **where) == 1
    buckets = buckets_of(page, "tcplb_connect_duration_seconds", **where)
    assert list(buckets) == [*map(str, CONNECT_BOUNDS), "+Inf"]
    assert [buckets[le] for le in ("0.0005", "0.001", "0.0025", "5.0", "+Inf")] == [2, 3, 3, 3, 4]
    assert page.value("tcplb_connect_duration_seconds_sum", **where) == pytest.approx(99.0012)
    # And nobody else's.
    assert sum(page["tcplb_connect_failures_total"].values()) == 3
    assert sum(page["tcplb_bytes_total"].values()) == 2111


def test_durations(stage: Stage) -> None:
    here = ("db", "database", "")
    for seconds in (0.01, 0.011, 4000.0):
        stage.route(here).count_end(Termination.CLIENT_RESET_EARLY, seconds)
    page = stage.page()
    buckets = buckets_of(page, "tcplb_session_duration_seconds", **named(here))
    assert list(buckets) == [*map(str, SESSION_BOUNDS), "+Inf"]
    assert [buckets[le] for le in ("0.01", "0.05", "3600.0", "+Inf")] == [1, 2, 2, 3]
    assert page.value("tcplb_session_duration_seconds_sum", **named(here)) == 4000.021


def test_open_connections_of_a_listener_are_those_of_all_workers(stage: Stage) -> None:
    numbers = [each.number for each in stage.plan.listeners]
    for slot in range(SLOTS):
        stage.board.publish(slot, 1.0, Counters(), zip(numbers, (slot, 10, 0), strict=True))
    page = stage.page()
    assert page.by("tcplb_listener_connections_active", "listener") == {
        "front": 3,
        "side": 30,
        "db": 0,
    }


@pytest.mark.parametrize(
    "count",
    [
        lambda route: route.count_connect(0.1),
        RouteCounters.count_failure,
        RouteCounters.count_retry,
    ],
)
def test_dials_to_a_backend_that_the_pool_has_no_more_are_shown_if_there_were_any(
    stage: Stage, count: Callable[[RouteCounters], None]
) -> None:
    here = ("front", "web", "")
    names = {
        "tcplb_bytes_total",
        "tcplb_connect_duration_seconds_count",
        "tcplb_connect_failures_total",
        "tcplb_retries_total",
    }
    assert not names & stage.page().series_of("backend", "")
    count(stage.route(here))
    page = stage.page()
    assert names <= page.series_of("backend", "")
    assert page.by("tcplb_retries_total", "listener", backend="").keys() == {"front"}


# -- sums over workers ------------------------------------------------------------------------

SECONDS = st.floats(0, 5000)
ENDS = st.tuples(
    st.sampled_from(ROUTES),
    st.integers(0, SLOTS),
    st.sampled_from(Termination),
    SECONDS,
    st.integers(0, 10**9),
    st.integers(0, 10**9),
)
DIALS = st.tuples(
    st.sampled_from([where for where in ROUTES if where[2]]), st.integers(0, SLOTS), SECONDS
)


@given(st.lists(ENDS, max_size=25), st.lists(DIALS, max_size=25), st.data())
def test_every_sum_is_over_all_workers_those_that_are_gone_included(
    ends: Sequence[tuple[tuple[str, str, str], int, Termination, float, int, int]],
    dials: Sequence[tuple[tuple[str, str, str], int, float]],
    data: st.DataObject,
) -> None:
    with planned(CONFIG, slots=SLOTS) as (plan, board):
        stage = Stage(plan, board)
        for where, slot, termination, seconds, up, down in ends:
            route = stage.route(where, slot)
            route.count_end(termination, seconds)
            if where[2]:
                route.count_bytes(up, down)
        for where, slot, seconds in dials:
            stage.route(where, slot).count_connect(seconds)
        page = stage.page()
        _check_sums(page, ends, dials)
        # A worker that ends takes nothing with it.
        numbers = [0, 0, 0, 0, len(ROUTES)]
        assert len(numbers) == ROUTE + 1
        board.retire(data.draw(st.integers(0, SLOTS - 1)), numbers)
        assert stage.page().samples == page.samples


def _check_sums(
    page: Page,
    ends: Sequence[tuple[tuple[str, str, str], int, Termination, float, int, int]],
    dials: Sequence[tuple[tuple[str, str, str], int, float]],
) -> None:
    expected = Counter((*where, each.code, each.name.lower()) for where, _, each, *_ in ends)
    names = ("listener", "pool", "backend", "termination", "reason")
    found = {
        tuple(dict(labels)[name] for name in names): value
        for labels, value in page["tcplb_connections_total"].items()
    }
    assert {key: value for key, value in found.items() if value} == expected
    for where in ROUTES:
        labels = named(where)
        lengths = [seconds for at, _, _, seconds, _, _ in ends if at == where]
        buckets = buckets_of(page, "tcplb_session_duration_seconds", **labels)
        assert [buckets[str(bound)] for bound in SESSION_BOUNDS] == [
            sum(seconds <= bound for seconds in lengths) for bound in SESSION_BOUNDS
        ]
        total = page.value("tcplb_session_duration_seconds_sum", **labels)
        assert total == pytest.approx(sum(lengths), abs=0.001 * len(lengths) + 1e-9)
        if not where[2]:
            continue
        times = [seconds for at, _, seconds in dials if at == where]
        assert buckets_of(page, "tcplb_connect_duration_seconds", **labels)["+Inf"] == len(times)
        assert page.by("tcplb_bytes_total", "direction", **labels) == {
            "up": sum(up for at, _, _, _, up, _ in ends if at == where),
            "down": sum(down for at, _, _, _, _, down in ends if at == where),
        }


# -- reloads ----------------------------------------------------------------------------------


def test_a_backend_that_is_removed_leaves_the_page_and_comes_back_with_its_counts() -> None:
    without = CONFIG.model_copy(update={"pools": {**CONFIG.pools, "web": pool("w2")}})
    numbering = new_numbering(roomy_layout(CONFIG))
    with planned(CONFIG, numbering, SLOTS) as (plan, board):
        stage = Stage(plan, board)
        stage.route(("front", "web", "w1")).count_end(Termination.NORMAL, 1.0)
        stage.route(("db", "database", "w1")).count_end(Termination.KILLED, 1.0)
        assert "web" in {dict(each).get("pool") for each in _of_backend(stage.page(), "w1")}
        stage.plan = plan_of(without, numbering, SLOTS)
        gone = _of_backend(stage.page(), "w1")
        assert {dict(each).get("pool") for each in gone} == {"database"}
        # Nobody has said that its cells are free: it goes on where it was.
        stage.plan = plan_of(CONFIG, numbering, SLOTS)
        ends = stage.page().by("tcplb_connections_total", "reason", listener="front", backend="w1")
        assert ends == {"normal": 1}


def _of_backend(page: Page, name: str) -> list[frozenset[tuple[str, str]]]:
    return [labels for _, labels in page.samples if ("backend", name) in labels]

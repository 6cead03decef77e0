from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.config.models import BackendConfig, Config, ListenerConfig, PoolConfig
from tcplb.control.events import Events
from tcplb.control.messages import Verdict
from tcplb.control.metrics_pools import pool_metrics
from tcplb.control.plan import Plan
from tcplb.control.scoreboard import Scoreboard
from tcplb.control.verdicts import Verdicts
from tcplb.dataplane.counters import CONNECT_BOUNDS
from tcplb.policy.fingerprint import fingerprint
from tcplb.policy.names import KeyRule
from tcplb.policy.transition import Checked, Mode, State, Transition
from tests.control.metrics_page import Page, buckets_of, planned

SLOTS = 3
CONFIG = Config(
    listeners=(ListenerConfig(name="front", bind="127.0.0.1:0", pool="web"),),
    pools={
        "web": PoolConfig(
            strategy="hash",
            backends=(
                BackendConfig(name="b1", address="127.0.0.1:81"),
                BackendConfig(name="b2", address="127.0.0.1:82", weight=5, max_connections=7),
                BackendConfig(name="b3", address="127.0.0.1:83", weight=0),
                BackendConfig(name="b4", address="127.0.0.1:84", state="draining"),
                BackendConfig(name="b5", address="127.0.0.1:85", state="disabled"),
            ),
        ),
        "plain": PoolConfig(
            strategy="round-robin", backends=(BackendConfig(name="b1", address="127.0.0.1:86"),)
        ),
    },
)
BACKENDS = [("web", f"b{n}") for n in range(1, 6)] + [("plain", "b1")]
STATES = {"enabled", "draining", "disabled", "down", "ejected", "on_trial"}


@dataclass
class Stage:
    plan: Plan
    board: Scoreboard
    verdicts: Verdicts = field(default_factory=lambda: Verdicts(Events()))

    def page(self) -> Page:
        return Page.of(pool_metrics(self.plan, self.board, self.verdicts))

    def note(self, state: State | Checked, backend: str = "b1", pool: str = "web") -> None:
        self.verdicts.note(Verdict(pool, Transition(backend, state, "is so", at=1.0)))

    def states(self, backend: str = "b1", pool: str = "web") -> set[str]:
        states = self.page().by("tcplb_backend_state", "state", pool=pool, backend=backend)
        assert set(states) == STATES
        assert set(states.values()) <= {0, 1}
        return {state for state, value in states.items() if value}

    def up(self, backend: str = "b1", pool: str = "web") -> float:
        return self.page().value("tcplb_backend_up", pool=pool, backend=backend)

    def usable(self, pool: str = "web") -> float:
        return self.page().value("tcplb_pool_usable_backends", pool=pool)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with planned(CONFIG, slots=SLOTS) as (plan, board):
        yield Stage(plan, board)


def test_kinds(stage: Stage) -> None:
    assert stage.page().kinds == {
        "tcplb_connections_active": "gauge",
        "tcplb_backend_up": "gauge",
        "tcplb_backend_state": "gauge",
        "tcplb_backend_weight": "gauge",
        "tcplb_backend_max_connections": "gauge",
        "tcplb_backend_ejections_total": "counter",
        "tcplb_pool_usable_backends": "gauge",
        "tcplb_queue_waiting": "gauge",
        "tcplb_queue_wait_seconds": "histogram",
        "tcplb_ring_fingerprint_info": "gauge",
    }


def test_what_is_configured(stage: Stage) -> None:
    page = stage.page()
    assert page.by("tcplb_backend_weight", "backend", pool="web") == {
        "b1": 1,
        "b2": 5,
        "b3": 0,
        "b4": 1,
        "b5": 1,
    }
    assert page.by("tcplb_backend_max_connections", "backend", pool="web") == {
        "b1": 0,
        "b2": 7,
        "b3": 0,
        "b4": 0,
        "b5": 0,
    }


def test_connections_are_those_of_all_workers_by_pool(stage: Stage) -> None:
    for pool in stage.plan.pools:
        for number in pool.positions:
            for slot in range(SLOTS):
                stage.board.active(number)[slot] = 10 * number + slot
    active = stage.page()["tcplb_connections_active"]
    assert len(active) == len(BACKENDS)
    for pool in stage.plan.pools:
        for backend, number in zip(pool.backends, pool.positions, strict=True):
            where = frozenset({"pool": pool.name, "backend": backend.name}.items())
            assert active[where] == 30 * number + 3


# -- states -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "state", "up"),
    [("b1", "enabled", 1), ("b3", "enabled", 1), ("b4", "draining", 0), ("b5", "disabled", 0)],
)
def test_what_the_operator_says(stage: Stage, backend: str, state: str, up: int) -> None:
    assert stage.states(backend) == {state}
    assert stage.up(backend) == up


def test_what_the_checks_say(stage: Stage) -> None:
    stage.note(Checked.DOWN)
    assert (stage.states(), stage.up()) == ({"enabled", "down"}, 0)
    stage.note(Checked.UP)
    assert (stage.states(), stage.up()) == ({"enabled"}, 1)


def test_what_the_connects_of_clients_say(stage: Stage) -> None:
    stage.note(State.EJECTED)
    assert (stage.states(), stage.up()) == ({"enabled", "ejected"}, 0)
    stage.note(State.ON_TRIAL)
    assert (stage.states(), stage.up()) == ({"enabled", "on_trial"}, 0)
    stage.note(State.EJECTED)
    assert (stage.states(), stage.up()) == ({"enabled", "ejected"}, 0)
    stage.note(State.IN)
    assert (stage.states(), stage.up()) == ({"enabled"}, 1)


def test_all_of_it_at_once(stage: Stage) -> None:
    stage.note(State.EJECTED, "b4")
    stage.note(Checked.DOWN, "b4")
    assert (stage.states("b4"), stage.up("b4")) == ({"draining", "down", "ejected"}, 0)


def test_backends_of_one_name_in_two_pools_are_two(stage: Stage) -> None:
    stage.note(State.EJECTED, "b1", "plain")
    assert (stage.up("b1", "plain"), stage.up("b1", "web")) == (0, 1)
    assert stage.page().value("tcplb_backend_ejections_total", pool="web", backend="b1") == 0


def test_usable_are_those_that_are_up_and_have_weight(stage: Stage) -> None:
    assert (stage.usable("web"), stage.usable("plain")) == (2, 1)
    stage.note(Checked.DOWN, "b2")
    stage.note(State.EJECTED, "b1", "plain")
    assert (stage.usable("web"), stage.usable("plain")) == (1, 0)


def test_ejections_are_counted_and_trials_are_none(stage: Stage) -> None:
    for state in (State.EJECTED, State.ON_TRIAL, State.EJECTED, State.IN):
        stage.note(state)
    page = stage.page()
    assert page.value("tcplb_backend_ejections_total", pool="web", backend="b1") == 2
    assert sum(page["tcplb_backend_ejections_total"].values()) == 2


@given(
    st.lists(st.tuples(st.sampled_from(BACKENDS), st.sampled_from([*State, *Checked])), max_size=20)
)
def test_up_is_enabled_and_nothing_else_whatever_happened(
    story: list[tuple[tuple[str, str], State | Checked]],
) -> None:
    with planned(CONFIG, slots=SLOTS) as (plan, board):
        stage = Stage(plan, board)
        for (pool, backend), state in story:
            stage.note(state, backend, pool)
        page = stage.page()
        for pool, backend in BACKENDS:
            holding = stage.states(backend, pool)
            assert len(holding & {mode.value for mode in Mode}) == 1
            assert not {"ejected", "on_trial"} <= holding
            assert stage.up(backend, pool) == (holding == {"enabled"})
        for name, weightless in (("web", {"b3"}), ("plain", set[str]())):
            up = page.by("tcplb_backend_up", "backend", pool=name)
            usable = sum(value for backend, value in up.items() if backend not in weightless)
            assert page.value("tcplb_pool_usable_backends", pool=name) == usable


# -- queues -----------------------------------------------------------------------------------


def test_queues_are_those_of_all_workers(stage: Stage) -> None:
    web, plain = (pool.number for pool in stage.plan.pools)
    for slot in range(SLOTS):
        stage.board.queue(slot, web).waiting = slot + 1
        stage.board.queue(slot, web).count_wait(0.02)
    stage.board.queue(0, web).count_wait(7.0)
    stage.board.queue(0, plain).count_wait(0.0004)
    page = stage.page()
    assert page.by("tcplb_queue_waiting", "pool") == {"web": 6, "plain": 0}
    buckets = buckets_of(page, "tcplb_queue_wait_seconds", pool="web")
    assert list(buckets) == [*map(str, CONNECT_BOUNDS), "+Inf"]
    assert [buckets[le] for le in ("0.01", "0.025", "5.0", "+Inf")] == [0, 3, 3, 4]
    assert page.value("tcplb_queue_wait_seconds_sum", pool="web") == pytest.approx(7.06)
    assert buckets_of(page, "tcplb_queue_wait_seconds", pool="plain")["0.0005"] == 1


# -- the fingerprint --------------------------------------------------------------------------


def test_pools_that_place_keys_have_a_fingerprint(stage: Stage) -> None:
    (web, _) = stage.plan.pools
    expected = fingerprint("hash", KeyRule(), 65537, web.backends)
    labels = {"pool": "web", "strategy": "hash", "fingerprint": expected}
    assert stage.page()["tcplb_ring_fingerprint_info"] == {frozenset(labels.items()): 1}


def test_the_table_and_the_key_rule_of_the_pool_count() -> None:
    config = CONFIG.model_copy(
        update={
            "pools": {
                "web": PoolConfig(
                    strategy="maglev",
                    hash_key="client/24",
                    maglev_table_size=251,
                    backends=CONFIG.pools["web"].backends,
                )
            }
        }
    )
    with planned(config) as (plan, board):
        page = Stage(plan, board).page()
        expected = fingerprint("maglev", plan.pools[0].rules.key_rule, 251, plan.pools[0].backends)
        assert page.by("tcplb_ring_fingerprint_info", "fingerprint") == {expected: 1}
        assert plan.pools[0].rules.key_rule.prefix == 24

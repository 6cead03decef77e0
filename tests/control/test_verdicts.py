from __future__ import annotations

import time

import pytest

from tcplb.config.models import BackendConfig, Config, ListenerConfig, PoolConfig
from tcplb.control.events import EVENT_CELLS, Events
from tcplb.control.messages import Verdict
from tcplb.control.plan import Limits, make_plan
from tcplb.control.verdicts import Verdicts
from tcplb.policy.transition import Checked, Mode, State, Transition


def pool_config(*hosts: int) -> PoolConfig:
    return PoolConfig(
        backends=tuple(
            BackendConfig(name=f"b{host}", address=f"10.0.0.{host}:80") for host in hosts
        )
    )


PLAN = make_plan(
    Config(
        listeners=(ListenerConfig(name="a", bind=":80", pool="web"),),
        pools={"web": pool_config(1, 2), "database": pool_config(2, 3)},
    ),
    Limits(each=7, total=None),
    slots=2,
)


class Supervisor:
    def __init__(self) -> None:
        self.events = Events(memoryview(bytearray(EVENT_CELLS * 8)).cast("q"))
        self.verdicts = Verdicts(PLAN, self.events)

    def note(
        self, backend: str, state: Mode | Checked | State, *, pool: str = "web", at: float = 0.0
    ) -> Verdict:
        verdict = Verdict(pool, Transition(backend, state, f"is {state.value}", at=at))
        self.verdicts.note(verdict)
        return verdict

    def in_force(self) -> list[tuple[str, str, Mode | Checked | State]]:
        return [
            (verdict.pool, verdict.transition.backend, verdict.transition.state)
            for verdict in self.verdicts.in_force()
        ]


def test_at_first_there_are_none() -> None:
    supervisor = Supervisor()
    assert supervisor.in_force() == []
    assert supervisor.events.after(0) == []


@pytest.mark.parametrize("state", [Mode.DRAINING, Mode.DISABLED, Checked.DOWN, State.EJECTED])
def test_what_speaks_against_a_backend_is_in_force(state: Mode | Checked | State) -> None:
    supervisor = Supervisor()
    verdict = supervisor.note("b1", state)
    assert list(supervisor.verdicts.in_force()) == [verdict]


@pytest.mark.parametrize(
    ("state", "end"), [(Checked.DOWN, Checked.UP), (State.EJECTED, State.IN)], ids=str
)
def test_until_it_is_taken_back(state: Checked | State, end: Checked | State) -> None:
    supervisor = Supervisor()
    supervisor.note("b1", state)
    supervisor.note("b1", end)
    assert supervisor.in_force() == []


@pytest.mark.parametrize("state", [Checked.UP, State.IN], ids=str)
def test_to_take_back_what_nobody_said_is_nothing(state: Checked | State) -> None:
    supervisor = Supervisor()
    supervisor.note("b1", state)
    assert supervisor.in_force() == []


@pytest.mark.parametrize("mode", Mode)
def test_a_mode_stays_in_force_even_the_first_one(mode: Mode) -> None:
    """The plan may say that the backend is disabled, and a new worker goes by the plan."""
    supervisor = Supervisor()
    supervisor.note("b1", Mode.DRAINING)
    supervisor.note("b1", mode)
    assert supervisor.in_force() == [("web", "b1", mode)]


def test_a_new_verdict_replaces_the_one_before() -> None:
    supervisor = Supervisor()
    supervisor.note("b1", State.EJECTED, at=1.0)
    later = supervisor.note("b1", State.EJECTED, at=2.0)
    [verdict] = supervisor.verdicts.in_force()
    assert verdict is later


def test_the_operator_the_checks_and_the_connects_do_not_replace_each_other() -> None:
    supervisor = Supervisor()
    for state in (Mode.DRAINING, Checked.DOWN, State.EJECTED):
        supervisor.note("b1", state)
    assert len(supervisor.in_force()) == 3
    supervisor.note("b1", Checked.UP)
    assert supervisor.in_force() == [("web", "b1", Mode.DRAINING), ("web", "b1", State.EJECTED)]
    supervisor.note("b1", State.IN)
    assert supervisor.in_force() == [("web", "b1", Mode.DRAINING)]


def test_backends_of_one_name_in_two_pools_are_two() -> None:
    supervisor = Supervisor()
    supervisor.note("b2", Checked.DOWN)
    supervisor.note("b2", Checked.DOWN, pool="database")
    supervisor.note("b2", Checked.UP)
    assert supervisor.in_force() == [("database", "b2", Checked.DOWN)]


def test_that_a_trial_has_begun_replaces_no_ejection() -> None:
    """A new worker knows nothing of the trial; that the backend is out it has to know."""
    supervisor = Supervisor()
    ejection = supervisor.note("b1", State.EJECTED)
    supervisor.note("b1", State.ON_TRIAL)
    assert list(supervisor.verdicts.in_force()) == [ejection]
    supervisor.note("b1", State.IN)
    assert supervisor.in_force() == []


def test_a_trial_of_a_backend_that_is_not_out_is_not_in_force() -> None:
    supervisor = Supervisor()
    supervisor.note("b1", State.ON_TRIAL)
    assert supervisor.in_force() == []


def test_it_says_which_ejection_a_backend_is_in() -> None:
    supervisor = Supervisor()
    assert supervisor.verdicts.ejected("web", "b2") is None
    supervisor.note("b2", Checked.DOWN)
    supervisor.note("b2", Mode.DISABLED)
    assert supervisor.verdicts.ejected("web", "b2") is None
    ejection = supervisor.note("b2", State.EJECTED)
    supervisor.note("b2", State.ON_TRIAL)
    assert supervisor.verdicts.ejected("web", "b2") is ejection.transition
    assert supervisor.verdicts.ejected("database", "b2") is None
    supervisor.note("b2", State.IN)
    assert supervisor.verdicts.ejected("web", "b2") is None


def test_what_is_in_force_may_be_told_while_more_is_noted() -> None:
    supervisor = Supervisor()
    supervisor.note("b1", Checked.DOWN)
    for _ in supervisor.verdicts.in_force():
        supervisor.note("b2", Checked.DOWN)
    assert len(supervisor.in_force()) == 2


def test_every_change_is_an_event_be_it_in_force_or_not() -> None:
    supervisor, began = Supervisor(), time.time()
    supervisor.note("b2", Checked.DOWN)
    supervisor.note("b2", Checked.UP)
    supervisor.note("b3", State.ON_TRIAL, pool="database")
    events = supervisor.events.after(0)
    assert [(event.number, event.position, event.text) for event in events] == [
        (1, 1, "pool web: backend b2 is down"),
        (2, 1, "pool web: backend b2 is up"),
        (3, 3, "pool database: backend b3 is on trial"),
    ]
    assert all(began - 0.001 <= event.time <= time.time() for event in events)


def test_an_event_of_a_backend_that_is_not_in_the_plan_has_no_place() -> None:
    supervisor = Supervisor()
    supervisor.note("b3", Checked.DOWN)  # it is in the other pool
    assert [event.position for event in supervisor.events.after(0)] == [-1]

from __future__ import annotations

import time

import pytest

from tcplb.control.events import Events
from tcplb.control.messages import Verdict
from tcplb.control.verdicts import Verdicts
from tcplb.policy.transition import Checked, Mode, State, Transition


class Supervisor:
    def __init__(self) -> None:
        self.events = Events()
        self.verdicts = Verdicts(self.events)

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
    supervisor = Supervisor()
    supervisor.note("b2", Checked.DOWN)
    supervisor.note("b2", Checked.UP)
    supervisor.note("b3", State.ON_TRIAL, pool="database")
    events = supervisor.events.after(0)
    assert [(event.kind, event.pool, event.backend, event.text) for event in events] == [
        ("health", "web", "b2", "pool web: backend b2 is down"),
        ("health", "web", "b2", "pool web: backend b2 is up"),
        ("health", "database", "b3", "pool database: backend b3 is on trial"),
    ]


def test_it_says_why_a_backend_is_down() -> None:
    supervisor = Supervisor()
    supervisor.note("b1", State.EJECTED)
    assert supervisor.verdicts.down("web", "b1") is None
    down = supervisor.note("b1", Checked.DOWN)
    assert supervisor.verdicts.down("web", "b1") is down.transition
    supervisor.note("b1", Checked.UP)
    assert supervisor.verdicts.down("web", "b1") is None


@pytest.mark.parametrize("end", [State.IN, State.EJECTED], ids=str)
def test_a_trial_lasts_until_it_is_known_how_it_went(end: State) -> None:
    supervisor = Supervisor()
    supervisor.note("b1", State.EJECTED)
    assert not supervisor.verdicts.on_trial("web", "b1")
    supervisor.note("b1", State.ON_TRIAL)
    supervisor.note("b1", Checked.DOWN)  # which is another matter
    assert supervisor.verdicts.on_trial("web", "b1")
    assert not supervisor.verdicts.on_trial("web", "b2")
    supervisor.note("b1", end)
    assert not supervisor.verdicts.on_trial("web", "b1")


def test_ejections_are_counted() -> None:
    supervisor = Supervisor()
    assert supervisor.verdicts.ejections("web", "b1") == 0
    for state in (State.EJECTED, State.ON_TRIAL, State.EJECTED, State.IN, Checked.DOWN):
        supervisor.note("b1", state)
    supervisor.note("b1", State.EJECTED, pool="database")
    assert supervisor.verdicts.ejections("web", "b1") == 2


def test_an_ejection_that_several_workers_find_at_once_is_one() -> None:
    supervisor = Supervisor()
    for state in (State.EJECTED, State.EJECTED, State.ON_TRIAL, State.ON_TRIAL, State.EJECTED):
        supervisor.note("b1", state)
    supervisor.note("b1", State.EJECTED)
    assert supervisor.verdicts.ejections("web", "b1") == 2


def test_of_one_that_is_gone_nothing_is_kept_and_of_the_others_all() -> None:
    supervisor = Supervisor()
    for backend in ("b1", "b2"):
        for state in (Mode.DRAINING, Checked.DOWN, State.EJECTED, State.ON_TRIAL):
            supervisor.note(backend, state)
    supervisor.note("b1", State.EJECTED, pool="database")
    supervisor.verdicts.forget("web", "b1")
    supervisor.verdicts.forget("web", "unknown")
    assert supervisor.in_force() == [
        ("web", "b2", Mode.DRAINING),
        ("web", "b2", Checked.DOWN),
        ("web", "b2", State.EJECTED),
        ("database", "b1", State.EJECTED),
    ]
    verdicts = supervisor.verdicts
    assert [verdicts.on_trial("web", name) for name in ("b1", "b2")] == [False, True]
    assert [verdicts.ejections("web", name) for name in ("b1", "b2")] == [0, 1]


def test_it_says_since_when() -> None:
    supervisor, began = Supervisor(), time.time()
    assert supervisor.verdicts.since("web", "b1") is None
    supervisor.note("b1", Checked.DOWN)
    since = supervisor.verdicts.since("web", "b1")
    assert since is not None
    assert began - 0.001 <= since <= time.time()
    assert supervisor.verdicts.since("web", "b2") is None
    supervisor.verdicts.forget("web", "b1")
    assert supervisor.verdicts.since("web", "b1") is None

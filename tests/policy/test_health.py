from __future__ import annotations

from itertools import product
from random import Random

import pytest

from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.health import Health
from tcplb.policy.outcome import Outcome
from tcplb.policy.transition import Checked, Mode, State, Transition

POLICY = EjectPolicy(failures=1, jitter=0)

every_combination = pytest.mark.parametrize(
    ("mode", "checked", "state"), list(product(Mode, Checked, State))
)


def news(state: Mode | Checked | State, at: float = 0.0) -> Transition:
    return Transition("b1", state, "because", until=at + 5.0, ejections=1, at=at)


def health_of(mode: Mode, checked: Checked, state: State) -> Health:
    """Return the health of a backend of which all three have spoken at 0 s."""
    health = Health("b1", POLICY, mode)
    health.learn(news(checked), now=0.0, may_eject=True)
    if state is not State.IN:
        eject(health, 0.0)
    if state is State.ON_TRIAL:
        health.tracker.begin_trial()
    return health


def eject(health: Health, now: float) -> None:
    health.tracker.observe(
        Outcome.REFUSED, started_at=now, now=now, trial=False, may_eject=True, rng=Random(1)
    )


def test_at_first_nothing_speaks_against_a_backend() -> None:
    health = Health("b1", POLICY)
    assert (health.mode, health.checked, health.tracker.state) == (
        Mode.ENABLED,
        Checked.UP,
        State.IN,
    )
    assert health.usable
    assert health.enabled
    assert health.admits(0.0)
    assert health.objection(0.0) is None


@every_combination
def test_it_is_usable_if_all_three_say_so(mode: Mode, checked: Checked, state: State) -> None:
    health = health_of(mode, checked, state)
    all_say_so = (mode, checked, state) == (Mode.ENABLED, Checked.UP, State.IN)
    assert health.usable == health.admits(0.0) == all_say_so
    assert (health.objection(0.0) is None) == all_say_so
    assert health.enabled == (mode is Mode.ENABLED)


@every_combination
def test_a_trial_is_due_only_for_one_that_is_enabled_and_up(
    mode: Mode, checked: Checked, state: State
) -> None:
    health = health_of(mode, checked, state)
    good = mode is Mode.ENABLED and checked is Checked.UP
    # The one that is on trial has its trial out.
    assert health.admits(5.0) == (good and state is not State.ON_TRIAL)
    assert not health.trial_due(4.9)
    if mode is Mode.ENABLED:  # nobody else is asked about
        assert health.trial_due(5.0) == (good and state is State.EJECTED)


@pytest.mark.parametrize("mode", Mode)
def test_the_operator_changes_nothing_but_the_mode(mode: Mode) -> None:
    for checked, state in product(Checked, State):
        health = health_of(Mode.ENABLED, checked, state)
        health.set_mode(mode, "x", now=1.0)
        assert (health.mode, health.checked, health.tracker.state) == (mode, checked, state)


@pytest.mark.parametrize("checked", Checked)
def test_the_checks_change_nothing_but_up_and_down(checked: Checked) -> None:
    for mode, state in product(Mode, State):
        health = health_of(mode, Checked.UP, state)
        health.learn(news(checked, 1.0), now=1.0, may_eject=True)
        assert (health.mode, health.checked, health.tracker.state) == (mode, checked, state)


def test_connects_change_nothing_but_passive_health() -> None:
    for mode, checked in product(Mode, Checked):
        health = health_of(mode, checked, State.IN)
        eject(health, 1.0)
        assert (health.mode, health.checked) == (mode, checked)
        assert health.tracker.state is State.EJECTED
        health.tracker.succeed(2.0)
        assert (health.mode, health.checked) == (mode, checked)


def test_a_check_that_passes_ends_an_ejection() -> None:
    health = health_of(Mode.ENABLED, Checked.UP, State.EJECTED)
    assert not health.learn(news(Checked.UP, 1.0), now=1.0, may_eject=True)  # no news by itself
    assert not health.usable
    assert health.learn(news(State.IN, 1.0), now=1.0, may_eject=True)  # its owner says as much
    assert health.usable


def test_a_mode_is_told_once_with_who_says_so() -> None:
    health = Health("b1", POLICY)
    change = health.set_mode(Mode.DRAINING, "the operator says so", now=3.0)
    assert change == Transition("b1", Mode.DRAINING, "is draining: the operator says so")
    assert change is not None
    assert change.at == 3.0
    assert str(change) == "backend b1 is draining: the operator says so"
    assert health.set_mode(Mode.DRAINING, "again", now=4.0) is None
    back = health.set_mode(Mode.ENABLED, "done", now=5.0)
    assert str(back) == "backend b1 is enabled: done"


@pytest.mark.parametrize(
    "state", [Mode.DRAINING, Mode.DISABLED, Checked.DOWN, State.EJECTED], ids=str
)
def test_what_is_learnt_is_news_once(state: Mode | Checked | State) -> None:
    health = Health("b1", POLICY)
    assert health.learn(news(state), now=0.0, may_eject=True)
    assert not health.usable
    if not isinstance(state, State):  # a later ejection is another one
        assert not health.learn(news(state), now=1.0, may_eject=True)


@pytest.mark.parametrize("state", [Mode.ENABLED, Checked.UP, State.IN], ids=str)
def test_that_nothing_speaks_against_it_is_no_news_at_first(state: Mode | Checked | State) -> None:
    assert not Health("b1", POLICY).learn(news(state), now=0.0, may_eject=True)


def test_only_an_ejection_may_be_forbidden() -> None:
    health = Health("b1", POLICY)
    assert not health.learn(news(State.EJECTED), now=0.0, may_eject=False)
    assert health.usable
    assert health.learn(news(Checked.DOWN), now=0.0, may_eject=False)
    assert health.learn(news(Mode.DISABLED), now=0.0, may_eject=False)


@pytest.mark.parametrize(
    ("mode", "checked", "state", "objection"),
    [
        (Mode.DRAINING, Checked.DOWN, State.EJECTED, "draining"),
        (Mode.DISABLED, Checked.UP, State.IN, "disabled"),
        (Mode.ENABLED, Checked.DOWN, State.EJECTED, "down"),
        (Mode.ENABLED, Checked.UP, State.EJECTED, "ejected"),
        (Mode.ENABLED, Checked.UP, State.ON_TRIAL, "on trial"),
    ],
)
def test_an_objection_says_first_what_the_operator_says_then_the_checks_then_connects(
    mode: Mode, checked: Checked, state: State, objection: str
) -> None:
    assert health_of(mode, checked, state).objection(4.9) == objection


def test_there_is_no_objection_to_a_trial_that_is_due() -> None:
    health = health_of(Mode.ENABLED, Checked.UP, State.EJECTED)
    assert health.objection(5.0) is None

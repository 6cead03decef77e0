from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tcplb.policy.ejection import EjectPolicy, FailureTracker
from tcplb.policy.outcome import Outcome
from tcplb.policy.transition import State, Transition

STEADY = EjectPolicy(jitter=0)
"""Ejects for 5, 10, 15 … 60 s exactly."""

BLAMED = (Outcome.REFUSED, Outcome.TIMED_OUT, Outcome.UNREACHABLE, Outcome.UNRESOLVED)
NEUTRAL = (Outcome.NO_RESOURCES, Outcome.ABANDONED)
LONGEST = 60 * 1.1


class Tracked:
    """A tracker, and the arguments that most tests do not care about."""

    def __init__(self, policy: EjectPolicy = STEADY, seed: int = 1) -> None:
        self.tracker = FailureTracker("b1", policy)
        self.rng = Random(seed)

    def state(self) -> State:
        return self.tracker.state

    def admits(self, now: float) -> bool:
        return self.tracker.admits(now)

    def hear(
        self,
        outcome: Outcome,
        now: float,
        *,
        started_at: float | None = None,
        trial: bool = False,
        may_eject: bool = True,
    ) -> Transition | None:
        return self.tracker.observe(
            outcome,
            started_at=now if started_at is None else started_at,
            now=now,
            trial=trial,
            may_eject=may_eject,
            rng=self.rng,
        )

    def fail(self, now: float, times: int = 1, *, may_eject: bool = True) -> Transition | None:
        transition = None
        for _ in range(times):
            transition = self.hear(Outcome.REFUSED, now, may_eject=may_eject)
        return transition

    def try_it(self, outcome: Outcome, now: float) -> Transition | None:
        assert self.tracker.trial_due(now)
        self.tracker.begin_trial()
        return self.hear(outcome, now, trial=True)

    def ejected_for(self, since: float) -> float:
        """Return the seconds from `since` until a trial is due, to a millisecond."""
        assert not self.admits(since)
        low, high = 0.0, 1000.0
        while high - low > 0.0005:
            middle = (low + high) / 2
            low, high = (low, middle) if self.admits(since + middle) else (middle, high)
        return high


def ejected(now: float = 0.0, policy: EjectPolicy = STEADY) -> Tracked:
    """Return a backend that was ejected at `now`: for 5 s, by default."""
    tracked = Tracked(policy)
    tracked.fail(now, policy.failures)
    assert tracked.state() is State.EJECTED
    return tracked


# -- what ejects ------------------------------------------------------------------------------


def test_a_new_backend_is_in() -> None:
    tracked = Tracked()
    assert tracked.state() is State.IN
    assert tracked.admits(0.0)
    assert not tracked.tracker.trial_due(0.0)


def test_two_failures_in_a_row_do_not_eject() -> None:
    tracked = Tracked()
    assert tracked.fail(0.0, 2) is None
    assert tracked.state() is State.IN
    assert tracked.admits(0.0)


@pytest.mark.parametrize("outcome", BLAMED)
def test_three_failures_in_a_row_eject(outcome: Outcome) -> None:
    tracked = Tracked()
    transitions = [tracked.hear(outcome, now) for now in (1.0, 2.0, 3.0)]
    assert transitions[:2] == [None, None]
    assert transitions[2] is not None
    assert transitions[2].state is State.EJECTED
    assert tracked.state() is State.EJECTED
    assert not tracked.admits(3.0)


def test_an_ejection_says_for_how_long_and_on_what_evidence() -> None:
    tracked = Tracked()
    tracked.hear(Outcome.REFUSED, 10.5, started_at=10.0)
    tracked.hear(Outcome.REFUSED, 10.6)
    transition = tracked.hear(Outcome.TIMED_OUT, 12.0, started_at=11.0)
    assert transition is not None
    assert transition.backend == "b1"
    assert str(transition) == (
        "backend b1 ejected for 5.0 s: "
        "3 connects in a row failed in 2000 ms, the last one timed out"
    )


def test_the_evidence_counts_from_the_first_failure_after_the_last_success() -> None:
    tracked = Tracked()
    tracked.fail(0.0, 2)
    tracked.hear(Outcome.CONNECTED, 100.0)
    tracked.fail(101.0, 2)
    assert "3 connects in a row failed in 500 ms" in str(tracked.fail(101.5))


def test_a_success_in_between_starts_the_count_anew() -> None:
    tracked = Tracked()
    tracked.fail(1.0, 2)
    assert tracked.hear(Outcome.CONNECTED, 2.0) is None  # nothing has changed
    tracked.fail(3.0, 2)
    assert tracked.state() is State.IN
    tracked.fail(4.0)
    assert tracked.state() is State.EJECTED


@pytest.mark.parametrize("outcome", NEUTRAL)
def test_an_outcome_that_is_not_the_backends_fault_never_counts(outcome: Outcome) -> None:
    tracked = Tracked()
    tracked.fail(0.0, 2)
    for _ in range(10):
        assert tracked.hear(outcome, 1.0) is None
    assert tracked.state() is State.IN
    assert tracked.fail(2.0) is not None  # and it does not break the row either


def test_one_failure_ejects_if_the_policy_says_so() -> None:
    assert Tracked(EjectPolicy(failures=1)).fail(0.0) is not None


# -- old news ---------------------------------------------------------------------------------


def test_a_failure_of_a_dial_begun_before_the_last_success_does_not_count() -> None:
    tracked = Tracked()
    tracked.hear(Outcome.CONNECTED, 10.0)
    for now in (11.0, 12.0, 13.0, 14.0):
        assert tracked.hear(Outcome.TIMED_OUT, now, started_at=9.9) is None
    assert tracked.state() is State.IN
    tracked.fail(15.0, 2)
    assert tracked.state() is State.IN
    tracked.fail(15.0)
    assert tracked.state() is State.EJECTED


def test_a_dial_begun_in_the_instant_of_the_last_success_counts() -> None:
    tracked = Tracked()
    tracked.hear(Outcome.CONNECTED, 10.0)
    for now in (11.0, 12.0, 13.0):
        tracked.hear(Outcome.TIMED_OUT, now, started_at=10.0)
    assert tracked.state() is State.EJECTED


def test_late_failures_after_the_ejection_do_not_prolong_it() -> None:
    tracked = ejected(0.0)
    for now in (1.0, 2.0, 4.9):
        assert tracked.hear(Outcome.TIMED_OUT, now, started_at=-1.0) is None
    assert not tracked.admits(4.9)
    assert tracked.admits(5.0)


def test_late_failures_during_the_trial_do_not_end_it() -> None:
    tracked = ejected(0.0)
    tracked.tracker.begin_trial()
    assert tracked.hear(Outcome.TIMED_OUT, 5.5, started_at=-1.0) is None
    assert tracked.state() is State.ON_TRIAL
    assert tracked.hear(Outcome.CONNECTED, 6.0, trial=True) is not None


def test_late_failures_after_the_return_do_not_eject_again() -> None:
    tracked = ejected(0.0)
    tracked.try_it(Outcome.CONNECTED, 5.0)
    for _ in range(5):
        assert tracked.hear(Outcome.TIMED_OUT, 6.0, started_at=0.0) is None
    assert tracked.state() is State.IN


@pytest.mark.parametrize("late", [Outcome.TIMED_OUT, Outcome.ABANDONED])
def test_the_end_of_an_earlier_trial_does_not_end_the_one_that_is_out(late: Outcome) -> None:
    tracked = ejected(0.0)
    tracked.tracker.begin_trial()  # the first trial begins at 5 s, and hangs
    tracked.hear(Outcome.CONNECTED, 6.0)  # another dial, as a last resort, brings it back
    tracked.fail(7.0, 3)  # and it fails again: until 12 s
    assert tracked.admits(12.0)
    tracked.tracker.begin_trial()  # the second trial
    assert tracked.hear(late, 12.5, started_at=5.0, trial=True) is None  # of the first one
    assert tracked.state() is State.ON_TRIAL
    assert not tracked.admits(12.5)


# -- for how long -----------------------------------------------------------------------------


def test_ejections_in_a_row_last_5_s_longer_each_up_to_60_s() -> None:
    tracked = ejected(0.0)
    now, durations = 0.0, []
    for _ in range(14):
        seconds = tracked.ejected_for(now)
        durations.append(round(seconds))
        now += seconds
        tracked.try_it(Outcome.REFUSED, now)
    assert durations == [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 60, 60]


@given(seed=st.integers(), ejections=st.integers(1, 100))
def test_jitter_keeps_within_10_percent(seed: int, ejections: int) -> None:
    seconds = EjectPolicy().duration(ejections, Random(seed))
    middle = min(5 * ejections, 60)
    assert middle * 0.9 <= seconds <= middle * 1.1


def test_jitter_uses_all_of_its_10_percent_evenly() -> None:
    rng = Random(7)
    durations = [EjectPolicy().duration(2, rng) for _ in range(2000)]
    assert 9.0 <= min(durations) < 9.1
    assert 10.9 < max(durations) <= 11.0
    assert sum(durations) / len(durations) == pytest.approx(10.0, abs=0.1)


def test_two_balancers_do_not_come_back_in_the_same_instant() -> None:
    times = set()
    for seed in (1, 2):
        tracked = Tracked(EjectPolicy(), seed)
        tracked.fail(0.0, 3)
        times.add(tracked.ejected_for(0.0))
    assert len(times) == 2


def test_the_policy_is_kept() -> None:
    policy = EjectPolicy(failures=1, base_time=1.0, step=3.0, max_time=8.0, jitter=0.0)
    rng = Random(0)
    assert [policy.duration(n, rng) for n in (1, 2, 3, 4, 50)] == [1.0, 4.0, 7.0, 8.0, 8.0]


# -- the trial --------------------------------------------------------------------------------


def test_before_its_time_is_over_nobody_is_let_through() -> None:
    tracked = ejected(0.0)
    assert not tracked.admits(0.0)
    assert not tracked.admits(4.999)
    assert tracked.admits(5.0)


def test_exactly_one_connection_is_let_through_as_a_trial() -> None:
    tracked = ejected(0.0)
    assert tracked.tracker.trial_due(5.0)
    tracked.tracker.begin_trial()
    assert tracked.state() is State.ON_TRIAL
    for now in (5.0, 6.0, 1000.0):
        assert not tracked.admits(now)
        assert not tracked.tracker.trial_due(now)


def test_a_trial_that_succeeds_brings_it_back_and_says_so() -> None:
    tracked = ejected(0.0)
    transition = tracked.try_it(Outcome.CONNECTED, 5.0)
    assert transition == Transition("b1", State.IN, "is back: a connect succeeded")
    assert str(transition) == "backend b1 is back: a connect succeeded"
    assert tracked.state() is State.IN
    assert tracked.admits(5.0)


def test_a_return_resets_the_count_and_the_length() -> None:
    tracked = ejected(0.0)
    tracked.try_it(Outcome.REFUSED, 5.0)
    tracked.try_it(Outcome.CONNECTED, 15.0)
    assert tracked.fail(20.0, 2) is None
    assert tracked.fail(20.0) is not None
    assert tracked.ejected_for(20.0) == pytest.approx(5.0, abs=0.001)


def test_a_trial_that_fails_ejects_at_once_for_longer() -> None:
    tracked = ejected(0.0)
    transition = tracked.try_it(Outcome.TIMED_OUT, 5.0)
    assert transition is not None
    assert transition.state is State.EJECTED
    assert str(transition) == "backend b1 ejected for 10.0 s: its trial connect was timed out"
    assert not tracked.admits(14.9)
    assert tracked.admits(15.0)


def test_a_trial_that_fails_ejects_even_as_the_last_one() -> None:
    # It is not usable yet, so nothing is lost; the pool then trusts nobody's verdict.
    tracked = ejected(0.0)
    tracked.tracker.begin_trial()
    tracked.hear(Outcome.REFUSED, 5.0, trial=True, may_eject=False)
    assert tracked.state() is State.EJECTED


@pytest.mark.parametrize("outcome", NEUTRAL)
def test_a_trial_that_learns_nothing_frees_the_trial_for_the_next(outcome: Outcome) -> None:
    tracked = ejected(0.0)
    assert tracked.try_it(outcome, 5.0) is None
    assert tracked.state() is State.EJECTED
    assert tracked.tracker.trial_due(5.0)
    tracked.try_it(Outcome.REFUSED, 6.0)
    assert tracked.ejected_for(6.0) == pytest.approx(10.0, abs=0.001)  # the second, not the third


@pytest.mark.parametrize("outcome", NEUTRAL)
def test_a_dial_that_is_not_the_trial_does_not_free_it(outcome: Outcome) -> None:
    tracked = ejected(0.0)
    tracked.tracker.begin_trial()
    tracked.hear(outcome, 5.0, trial=False)
    assert tracked.state() is State.ON_TRIAL


def test_any_dial_that_succeeds_brings_it_back_before_its_time() -> None:
    tracked = ejected(0.0)
    transition = tracked.hear(Outcome.CONNECTED, 1.0)
    assert transition is not None
    assert transition.state is State.IN
    assert tracked.admits(1.0)


@pytest.mark.parametrize("outcome", [*BLAMED, *NEUTRAL])
def test_a_trial_that_ends_badly_after_another_dial_succeeded_is_old_news(
    outcome: Outcome,
) -> None:
    tracked = ejected(0.0)
    tracked.tracker.begin_trial()
    tracked.hear(Outcome.CONNECTED, 6.0)
    assert tracked.hear(outcome, 7.0, started_at=5.0, trial=True) is None
    assert tracked.state() is State.IN


# -- the last one -----------------------------------------------------------------------------


def test_the_last_usable_backend_is_never_ejected() -> None:
    tracked = Tracked()
    assert tracked.fail(0.0, 100, may_eject=False) is None
    assert tracked.state() is State.IN
    assert tracked.admits(0.0)


def test_it_is_ejected_by_its_next_failure_once_another_is_in() -> None:
    tracked = Tracked()
    tracked.fail(0.0, 5, may_eject=False)
    transition = tracked.fail(1.0)
    assert transition is not None
    assert "6 connects in a row failed in 1000 ms" in transition.reason


# -- anything that can happen -----------------------------------------------------------------


class AnyHistory(RuleBasedStateMachine):
    """One backend, dials that overlap and end in any way, and time that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.tracked = Tracked(EjectPolicy())
        self.now = 0.0
        self.dials: list[tuple[float, bool]] = []
        self.trial: tuple[float, bool] | None = None

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 4.4, 5.5, 30.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.tracked.admits(self.now))
    @rule()
    def dial(self) -> None:
        trial = self.tracked.tracker.trial_due(self.now)
        assert trial != (self.tracked.state() is State.IN)
        self.dials.append((self.now, trial))
        if trial:
            self.trial = self.dials[-1]
            self.tracked.tracker.begin_trial()

    @rule()
    def dial_as_a_last_resort(self) -> None:
        if not self.tracked.admits(self.now):
            self.dials.append((self.now, False))

    @precondition(lambda self: self.dials)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome), may_eject=st.booleans())
    def a_dial_ends(self, data: st.DataObject, outcome: Outcome, may_eject: bool) -> None:
        dial = self.dials.pop(data.draw(st.integers(0, len(self.dials) - 1)))
        before = self.tracked.state()
        started_at, trial = dial
        transition = self.tracked.hear(
            outcome, self.now, started_at=started_at, trial=trial, may_eject=may_eject
        )
        if dial is self.trial or outcome is Outcome.CONNECTED:
            self.trial = None
        after = self.tracked.state()
        if transition is None:
            assert after is before or (before, after) == (State.ON_TRIAL, State.EJECTED)
        else:
            assert after is transition.state
        if before is State.IN and not may_eject:
            assert after is State.IN
        if outcome is Outcome.CONNECTED:
            assert after is State.IN
        if before is State.IN and not outcome.blames_backend:
            assert after is State.IN

    @invariant()
    def it_is_on_trial_while_its_trial_is_out_and_then_admits_nobody(self) -> None:
        assert (self.tracked.state() is State.ON_TRIAL) == (self.trial is not None)
        if self.trial is not None:
            assert not self.tracked.admits(self.now)
            assert not self.tracked.admits(self.now + 1000)

    @invariant()
    def it_admits_only_if_it_is_in_or_its_trial_is_due(self) -> None:
        due = self.tracked.tracker.trial_due(self.now)
        assert self.tracked.admits(self.now) == (self.tracked.state() is State.IN or due)
        assert not due or self.tracked.state() is State.EJECTED

    @invariant()
    def what_is_ejected_gets_a_trial_after_the_longest_ejection(self) -> None:
        if self.tracked.state() is State.EJECTED:
            assert self.tracked.admits(self.now + LONGEST)

    def teardown(self) -> None:
        """However it came here: after some time and one successful dial it is back."""
        if self.trial is not None:
            self.tracked.hear(
                Outcome.ABANDONED, self.now, started_at=self.trial[0], trial=self.trial[1]
            )
        self.now += LONGEST
        assert self.tracked.admits(self.now)
        if self.tracked.state() is State.EJECTED:
            self.tracked.try_it(Outcome.CONNECTED, self.now)
        assert self.tracked.state() is State.IN


if TYPE_CHECKING:
    TestAnyHistory = AnyHistory
else:
    TestAnyHistory = AnyHistory.TestCase
    TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)

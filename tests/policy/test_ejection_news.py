"""What a tracker makes of the verdicts of other processes."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.policy.ejection import LEARNT_GRACE, EjectPolicy, FailureTracker
from tcplb.policy.outcome import Outcome
from tcplb.policy.transition import State, Transition

STEADY = EjectPolicy(jitter=0)
GRACE = LEARNT_GRACE


def out(at: float, until: float, ejections: int = 1) -> Transition:
    return Transition("b1", State.EJECTED, "ejected", until=until, ejections=ejections, at=at)


def back(at: float) -> Transition:
    return Transition("b1", State.IN, "is back", at=at)


def tried(at: float, until: float) -> Transition:
    return Transition("b1", State.ON_TRIAL, "is on trial", until=until, at=at)


class Process:
    """The tracker of one process."""

    def __init__(self) -> None:
        self.tracker = FailureTracker("b1", STEADY)

    def state(self) -> State:
        return self.tracker.state

    def learn(self, news: Transition, now: float, *, may_eject: bool = True) -> bool:
        return self.tracker.learn(news, now=now, may_eject=may_eject)

    def observe(
        self, outcome: Outcome, now: float, started_at: float | None = None, *, trial: bool = False
    ) -> Transition | None:
        return self.tracker.observe(
            outcome,
            started_at=now if started_at is None else started_at,
            now=now,
            trial=trial,
            may_eject=True,
            rng=Random(1),
        )

    def eject(self, now: float) -> Transition:
        transition = [self.observe(Outcome.REFUSED, now) for _ in range(3)][-1]
        assert transition is not None
        return transition

    def begin_trial(self, now: float) -> None:
        assert self.tracker.trial_due(now)
        self.tracker.begin_trial()


def process(*news: tuple[Transition, float]) -> Process:
    """Return a process that has heard `news`, each at a time."""
    made = Process()
    for transition, now in news:
        assert made.learn(transition, now)
    return made


# -- what the news say ------------------------------------------------------------------------


def test_an_ejection_says_until_when_the_how_manieth_and_how_old_its_evidence_is() -> None:
    one = Process()
    one.observe(Outcome.REFUSED, 9.0)
    one.observe(Outcome.REFUSED, 9.5)
    first = one.observe(Outcome.TIMED_OUT, 12.0, started_at=10.0)
    assert first is not None
    assert (first.until, first.ejections, first.at) == (17.0, 1, 10.0)
    one.begin_trial(17.0)
    second = one.observe(Outcome.REFUSED, 17.5, started_at=17.0, trial=True)
    assert second is not None
    assert (second.until, second.ejections, second.at) == (27.5, 2, 17.0)


def test_a_return_says_when() -> None:
    one = Process()
    one.eject(0.0)
    news = one.observe(Outcome.CONNECTED, 5.5, started_at=5.0)
    assert news is not None
    assert (news.state, news.until, news.ejections, news.at) == (State.IN, 0.0, 0, 5.5)


# -- ejections --------------------------------------------------------------------------------


def test_a_learnt_ejection_holds_a_grace_longer_than_where_it_was_reached() -> None:
    one, other = Process(), Process()
    assert other.learn(one.eject(0.0), 0.1)
    assert other.state() is State.EJECTED
    assert one.tracker.admits(5.0)
    assert not other.tracker.admits(5.0)
    assert not other.tracker.admits(5.0 + GRACE - 0.001)
    assert other.tracker.trial_due(5.0 + GRACE)


def test_a_learnt_ejection_counts_as_one_in_the_row() -> None:
    one = process((out(0.0, 20.0, ejections=4), 0.1))
    one.begin_trial(20.0 + GRACE)
    transition = one.observe(Outcome.REFUSED, 21.0, trial=True)
    assert transition is not None
    assert (transition.ejections, transition.until) == (5, 21.0 + 25.0)


def test_a_learnt_ejection_begins_the_count_of_failures_anew() -> None:
    one = Process()
    one.observe(Outcome.REFUSED, 0.0)
    one.observe(Outcome.REFUSED, 0.0)
    one.learn(out(0.0, 5.0), 0.0)
    assert one.learn(back(1.0), 1.0)
    one.observe(Outcome.REFUSED, 2.0)
    one.observe(Outcome.REFUSED, 2.0)
    assert one.state() is State.IN


def test_the_last_usable_backend_is_not_ejected_by_news() -> None:
    one = Process()
    assert not one.learn(out(0.0, 5.0), 0.1, may_eject=False)
    assert one.state() is State.IN


def test_what_is_out_already_is_judged_anew_though_it_is_the_last_one() -> None:
    one = process((out(0.0, 5.0), 0.1))
    assert one.learn(out(6.0, 16.0, ejections=2), 6.1, may_eject=False)
    assert not one.tracker.admits(16.0)
    assert one.tracker.trial_due(16.0 + GRACE)


@pytest.mark.parametrize("late", [5.0, 5.001, 1000.0])
def test_an_ejection_that_is_over_is_no_news(late: float) -> None:
    one = Process()
    assert not one.learn(out(0.0, 5.0), late)
    assert one.state() is State.IN


def test_an_ejection_on_older_evidence_than_an_own_success_is_no_news() -> None:
    one = Process()
    one.observe(Outcome.CONNECTED, 2.0)
    assert not one.learn(out(1.9, 7.0), 2.1)
    assert one.state() is State.IN
    assert one.learn(out(2.0, 7.0), 2.2)


def test_of_two_that_eject_at_once_the_later_one_has_the_first_go() -> None:
    one, other = Process(), Process()
    first, second = one.eject(0.0), other.eject(0.1)
    assert one.learn(second, 0.2)
    assert not other.learn(first, 0.2)
    assert other.tracker.trial_due(5.1)
    assert not one.tracker.trial_due(5.1)
    assert one.tracker.trial_due(5.1 + GRACE)


# -- returns ----------------------------------------------------------------------------------


def test_a_learnt_return_brings_it_back_with_a_clean_record() -> None:
    one = process((out(0.0, 20.0, ejections=4), 0.1), (back(3.0), 3.1))
    assert one.state() is State.IN
    assert one.tracker.admits(3.1)
    assert one.eject(4.0).ejections == 1


def test_a_return_is_no_news_where_it_is_in() -> None:
    assert not Process().learn(back(3.0), 3.1)


def test_failures_of_dials_begun_before_a_learnt_return_are_old() -> None:
    one = process((out(0.0, 5.0), 0.1), (back(3.0), 3.1))
    for _ in range(5):
        assert one.observe(Outcome.TIMED_OUT, 4.0, started_at=2.9) is None
    assert one.state() is State.IN


def test_a_return_before_the_evidence_of_an_ejection_is_no_news() -> None:
    one = Process()
    one.eject(5.0)
    assert not one.learn(back(4.9), 5.1)
    assert one.state() is State.EJECTED


def test_the_evidence_counts_not_when_the_verdict_was_reached() -> None:
    # The dials began at 0 s and timed out at 3 s; at 2 s another process got through.
    one = Process()
    for _ in range(3):
        one.observe(Outcome.TIMED_OUT, 3.0, started_at=0.0)
    assert one.state() is State.EJECTED
    assert one.learn(back(2.0), 3.1)
    assert one.state() is State.IN


def test_news_that_overtake_each_other_end_as_if_they_had_not() -> None:
    one = Process()
    one.learn(back(5.0), 5.2)
    assert not one.learn(out(0.0, 9.0), 5.3)
    assert one.state() is State.IN


def test_that_a_trial_had_begun_is_no_news_once_it_is_known_to_have_failed() -> None:
    one = process((out(0.0, 5.0), 0.1), (out(5.0, 15.0, ejections=2), 5.3))
    assert not one.learn(tried(5.0, 20.0), 5.4)
    assert one.tracker.trial_due(15.0 + GRACE)


# -- trials -----------------------------------------------------------------------------------


def test_while_another_process_tries_this_one_passes_by() -> None:
    one = process((out(0.0, 5.0), 0.1), (tried(5.0, 8.0), 5.1))
    assert one.state() is State.ON_TRIAL
    assert not one.tracker.admits(5.0 + GRACE)
    assert not one.tracker.admits(8.0)


@pytest.mark.parametrize(
    ("verdict", "state"), [(back(5.5), State.IN), (out(5.0, 15.0, 2), State.EJECTED)]
)
def test_then_it_hears_how_the_trial_went(verdict: Transition, state: State) -> None:
    one = process((out(0.0, 5.0), 0.1), (tried(5.0, 8.0), 5.1), (verdict, 5.6))
    assert one.state() is state


def test_if_it_never_hears_of_it_again_it_tries_by_itself() -> None:
    one = process((out(0.0, 5.0), 0.1), (tried(5.0, 8.0), 5.1))
    one.begin_trial(8.0 + GRACE)
    transition = one.observe(Outcome.REFUSED, 9.5, started_at=9.0, trial=True)
    assert transition is not None
    assert transition.ejections == 2


def test_another_trial_elsewhere_is_waited_for_as_well() -> None:
    one = process((out(0.0, 5.0), 0.1), (tried(5.0, 8.0), 5.1), (tried(9.0, 12.0), 9.1))
    assert not one.tracker.admits(12.0)
    assert one.tracker.trial_due(12.0 + GRACE)


def test_where_it_is_in_a_trial_elsewhere_is_no_news() -> None:
    one = Process()
    assert not one.learn(tried(5.0, 8.0), 5.1)
    assert one.state() is State.IN


def test_a_trial_that_has_ended_by_now_is_no_news() -> None:
    one = process((out(0.0, 50.0), 0.1))
    assert not one.learn(tried(5.0, 8.0), 8.0)
    assert one.state() is State.EJECTED


def test_a_trial_elsewhere_does_not_count_for_an_own_one() -> None:
    one = process((out(0.0, 5.0), 0.1))
    one.begin_trial(6.0)
    assert not one.learn(tried(6.0, 9.0), 6.1)
    assert not one.tracker.admits(1000.0)  # its own one has an end, which is waited for
    assert one.observe(Outcome.CONNECTED, 6.5, trial=True) is not None


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.ABANDONED])
def test_an_own_trial_that_ends_badly_after_another_verdict_changes_nothing(
    outcome: Outcome,
) -> None:
    one = process((out(0.0, 5.0), 0.1))
    one.begin_trial(6.0)
    assert one.learn(out(6.1, 16.1, ejections=2), 6.2)
    assert one.observe(outcome, 7.0, started_at=6.0, trial=True) is None
    assert not one.tracker.admits(16.1)
    assert one.tracker.trial_due(16.1 + GRACE)


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.ABANDONED])
def test_it_does_not_end_a_later_own_trial_either(outcome: Outcome) -> None:
    one = process((out(0.0, 5.0), 0.1))
    one.begin_trial(6.0)  # this one hangs
    assert one.learn(out(6.1, 16.1, ejections=2), 6.2)
    one.begin_trial(18.0)
    assert one.observe(outcome, 18.1, started_at=6.0, trial=True) is None
    assert one.state() is State.ON_TRIAL
    assert not one.tracker.admits(1000.0)


def test_an_own_trial_that_learns_nothing_is_followed_by_another_at_once() -> None:
    one = process((out(0.0, 5.0), 0.1))
    one.begin_trial(6.0)
    assert one.observe(Outcome.ABANDONED, 6.5, started_at=6.0, trial=True) is None
    assert one.tracker.trial_due(6.5)


def test_an_own_success_ends_a_trial_elsewhere() -> None:
    one = process((out(0.0, 5.0), 0.1), (tried(5.0, 8.0), 5.1))
    transition = one.observe(Outcome.CONNECTED, 6.0)  # a last resort
    assert transition is not None
    assert one.state() is State.IN


# -- any news ---------------------------------------------------------------------------------

TIMES = st.integers(0, 30).map(float)
NEWS = st.one_of(
    st.builds(out, TIMES, TIMES, st.integers(1, 5)),
    st.builds(back, TIMES),
    st.builds(tried, TIMES, TIMES),
)


@given(st.lists(NEWS, max_size=12), TIMES)
@settings(max_examples=200, deadline=None)
def test_no_news_keep_a_backend_out_for_ever(news: list[Transition], now: float) -> None:
    one = Process()
    for transition in news:
        one.learn(transition, now)
    last = max([now, *(transition.until for transition in news)])
    assert one.tracker.admits(last + GRACE)
    if one.state() is not State.IN:
        one.begin_trial(last + GRACE)
        assert one.observe(Outcome.CONNECTED, last + GRACE, trial=True) is not None
    assert one.state() is State.IN

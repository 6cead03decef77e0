"""The failure rate over a sliding window, beside the failures in a row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.outcome import Outcome
from tcplb.policy.transition import State, Transition
from tests.policy.test_ejection import Tracked

RATE = EjectPolicy(failures=0, failure_rate=0.5, window=10.0, min_connects=10, jitter=0)
BEGIN = 1000.0


def mixed(tracked: Tracked, pattern: str, now: float, step: float = 0.0) -> Transition | None:
    """Let connects end, "x" failed and "." not; return the first change."""
    for index, letter in enumerate(pattern):
        outcome = Outcome.REFUSED if letter == "x" else Outcome.CONNECTED
        change = tracked.hear(outcome, now + index * step)
        if change is not None:
            return change
    return None


def test_when_half_of_them_fail_it_is_ejected_though_never_two_in_a_row() -> None:
    tracked = Tracked(RATE)
    change = mixed(tracked, ".x" * 5, BEGIN)
    assert change is not None
    assert change.state is tracked.state() is State.EJECTED
    assert str(change) == (
        "backend b1 ejected for 5.0 s: 5 of 10 connects failed within 10 s, the last one refused"
    )


def test_a_little_less_is_not_enough() -> None:
    tracked = Tracked(RATE)
    assert mixed(tracked, "..x.x.x.x" * 20, BEGIN) is None


@pytest.mark.parametrize("connects", [1, 5, 9])
def test_fewer_connects_than_the_minimum_say_nothing(connects: int) -> None:
    tracked = Tracked(RATE)
    assert mixed(tracked, "x" * connects, BEGIN) is None


def test_the_minimum_is_enough() -> None:
    tracked = Tracked(RATE)
    assert mixed(tracked, "x" * 10, BEGIN) is not None


def test_the_minimum_has_to_come_within_the_window() -> None:
    assert mixed(Tracked(RATE), "x" * 60, BEGIN, step=1.2) is None
    assert mixed(Tracked(RATE), "x" * 60, BEGIN, step=0.9) is not None


def test_what_was_well_longer_ago_than_the_window_is_no_excuse() -> None:
    tracked = Tracked(RATE)
    assert mixed(tracked, "." * 1000, BEGIN) is None
    assert mixed(tracked, "x" * 9, BEGIN + 10.0) is None
    assert mixed(tracked, "x", BEGIN + 10.0) is not None


def test_what_was_well_within_the_window_is() -> None:
    tracked = Tracked(RATE)
    assert mixed(tracked, "." * 1000, BEGIN) is None
    assert mixed(tracked, "x" * 100, BEGIN + 8.9) is None


def test_without_a_rate_any_number_may_fail_if_not_in_a_row() -> None:
    tracked = Tracked(EjectPolicy(failures=3, failure_rate=0.0))
    assert mixed(tracked, "xx." * 200, BEGIN) is None


def test_of_both_rules_the_one_that_is_met_first_counts() -> None:
    both = EjectPolicy(failures=3, failure_rate=0.5, min_connects=10, jitter=0)
    in_a_row = mixed(Tracked(both), "x" * 10, BEGIN)
    assert in_a_row is not None
    assert "3 connects in a row" in in_a_row.reason
    by_rate = mixed(Tracked(both), "x." * 4 + "xx", BEGIN)
    assert by_rate is not None
    assert "5 of 9" not in by_rate.reason
    assert "6 of 10 connects failed" in by_rate.reason


def test_with_neither_rule_nothing_ejects() -> None:
    assert mixed(Tracked(EjectPolicy(failures=0)), "x" * 1000, BEGIN) is None


def test_the_last_one_of_a_pool_stays_and_goes_by_its_next_failure_once_it_may() -> None:
    tracked = Tracked(RATE)
    assert tracked.fail(BEGIN, 50, may_eject=False) is None
    assert tracked.fail(BEGIN) is not None


def test_it_comes_back_with_a_clean_record() -> None:
    tracked = Tracked(RATE)
    mixed(tracked, "x" * 10, BEGIN)
    assert tracked.try_it(Outcome.CONNECTED, BEGIN + 5.0) is not None
    assert mixed(tracked, "x" * 8, BEGIN + 5.0) is None  # the trial was the first of ten
    assert mixed(tracked, "x", BEGIN + 5.0) is not None


@pytest.mark.parametrize("outcome", [Outcome.NO_RESOURCES, Outcome.ABANDONED])
def test_what_is_not_the_backends_fault_is_no_connect_at_all(outcome: Outcome) -> None:
    tracked = Tracked(RATE)
    mixed(tracked, "x" * 9, BEGIN)
    for _ in range(20):
        assert tracked.hear(outcome, BEGIN) is None
    assert tracked.fail(BEGIN) is not None


# -- failures that take their time ------------------------------------------------------------


def test_dials_that_time_out_count_though_others_connect_meanwhile() -> None:
    """By the time that one has timed out, another has always connected."""
    tracked = Tracked(RATE)
    change, now = None, BEGIN
    while change is None and now < BEGIN + 20.0:
        tracked.hear(Outcome.CONNECTED, now)
        change = tracked.hear(Outcome.TIMED_OUT, now, started_at=now - 3.0)
        now += 0.1
    assert change is not None
    assert now == pytest.approx(BEGIN + 0.5)
    assert "5 of 10 connects failed" in change.reason


def test_such_an_ejection_is_as_old_as_the_last_success_that_it_takes_into_account() -> None:
    tracked = Tracked(RATE)
    mixed(tracked, "." * 5 + "x" * 4, BEGIN)
    change = tracked.hear(Outcome.TIMED_OUT, BEGIN + 1.0, started_at=BEGIN - 2.0)
    assert change is not None
    assert change.at == BEGIN


def test_in_a_row_they_do_not_count() -> None:
    tracked = Tracked(EjectPolicy(failures=3, failure_rate=0.9, jitter=0))
    tracked.hear(Outcome.CONNECTED, BEGIN)
    for _ in range(10):
        assert tracked.hear(Outcome.TIMED_OUT, BEGIN + 2, started_at=BEGIN - 1) is None


def test_dials_begun_before_it_came_back_are_old_news_for_both_rules() -> None:
    tracked = Tracked(RATE)
    mixed(tracked, "x" * 10, BEGIN)
    tracked.try_it(Outcome.CONNECTED, BEGIN + 5.0)
    for _ in range(50):
        assert tracked.hear(Outcome.TIMED_OUT, BEGIN + 6.0, started_at=BEGIN + 4.0) is None
    assert mixed(tracked, "x" * 8, BEGIN + 6.0) is None
    assert mixed(tracked, "x", BEGIN + 6.0) is not None


def test_or_before_somebody_else_said_that_it_is_back() -> None:
    tracked = Tracked(RATE)
    mixed(tracked, "x" * 10, BEGIN)
    back = Transition("b1", State.IN, "x", at=BEGIN + 3.0)
    assert tracked.tracker.learn(back, now=BEGIN + 3.1, may_eject=True)
    for _ in range(50):
        assert tracked.hear(Outcome.TIMED_OUT, BEGIN + 5.0, started_at=BEGIN + 2.0) is None


# -- anything ---------------------------------------------------------------------------------


@given(
    st.sampled_from([0.1, 0.3, 0.5, 1.0]),
    st.integers(1, 12),
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.5, 3.0])), max_size=60),
)
def test_it_is_ejected_at_the_first_failure_at_which_the_rate_is_reached(
    rate: float, least: int, connects: list[tuple[bool, float]]
) -> None:
    policy = EjectPolicy(failures=0, failure_rate=rate, min_connects=least, jitter=0)
    tracked, now, seen = Tracked(policy), BEGIN, list[tuple[float, bool]]()
    for failed, step in connects:
        now += step
        seen.append((now, failed))
        recent = [one for at, one in seen if int(now) - int(at) <= 9]  # in parts of 1 s
        enough = failed and len(recent) >= least and sum(recent) / len(recent) >= rate
        change = tracked.hear(Outcome.REFUSED if failed else Outcome.CONNECTED, now)
        assert (change is not None) == enough
        if change is not None:
            return

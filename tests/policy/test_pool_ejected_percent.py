"""How many backends of a pool may be ejected at once."""

from __future__ import annotations

import pytest

from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.outcome import Outcome
from tcplb.policy.pool import Pool
from tcplb.policy.transition import Checked, Mode, State
from tests.policy.backends import named, names
from tests.policy.pools import backend, pool_of, tell, tell_all
from tests.policy.test_pool import dial, fail, others, state_of


def pool_with(count: int, percent: int) -> Pool:
    eject = EjectPolicy(jitter=0, max_ejected_percent=percent)
    return pool_of(named(*"abcdefghij"[:count]), eject=eject)


def out(pool: Pool) -> str:
    return "".join(name for name in names(pool.backends) if state_of(pool, name) is not State.IN)


def test_by_default_it_is_half_of_them() -> None:
    assert EjectPolicy().max_ejected_percent == 50


@pytest.mark.parametrize(
    ("count", "percent", "most"),
    [
        (10, 50, 5),
        (10, 49, 4),
        (10, 100, 9),  # the last usable one stays
        (10, 0, 1),
        (5, 50, 2),
        (4, 50, 2),
        (3, 50, 1),
        (2, 50, 1),
        (2, 10, 1),
        (2, 0, 1),
        (1, 100, 0),
    ],
)
def test_so_many_are_ejected_when_all_fail_and_no_more(count: int, percent: int, most: int) -> None:
    pool = pool_with(count, percent)
    for name in names(pool.backends):
        fail(pool, name, 0.0, times=5)
    assert out(pool) == "abcdefghij"[:most]


def test_one_on_trial_counts_as_ejected() -> None:
    pool = pool_with(4, 50)
    fail(pool, "a", 0.0)
    fail(pool, "b", 0.0)
    trial = pool.acquire(b"key", now=5.0, exclude={"b", "c", "d"})
    assert trial is not None
    assert trial.trial
    fail(pool, "c", 5.0, times=10)
    assert out(pool) == "ab"


def test_a_trial_that_fails_is_no_further_ejection() -> None:
    pool = pool_with(4, 50)
    fail(pool, "a", 0.0)
    fail(pool, "b", 0.0)
    name, change = dial(pool, Outcome.REFUSED, 5.0, others(pool, "a"))
    assert name == "a"
    assert change is not None
    assert change.ejections == 2


def test_when_one_is_back_another_may_go_with_its_next_failure() -> None:
    pool = pool_with(4, 50)
    for name in "abc":
        fail(pool, name, 0.0)
    assert out(pool) == "ab"
    dial(pool, Outcome.CONNECTED, 5.0, others(pool, "a"))
    assert out(pool) == "b"
    fail(pool, "c", 5.0, times=1)
    assert out(pool) == "bc"


def test_a_backend_of_weight_0_is_no_backend_here() -> None:
    weightless = [backend(name, weight=0) for name in "wxyz"]
    pool = pool_of([*named("a", "b", "c", "d"), *weightless], eject=EjectPolicy(jitter=0))
    for name in "abcd":
        fail(pool, name, 0.0)
    assert out(pool) == "ab"


def test_it_is_counted_over_all_tiers() -> None:
    backends = [backend("a"), backend("b"), backend("c", tier=1), backend("d", tier=1)]
    pool = pool_of(backends, eject=EjectPolicy(jitter=0))
    for name in "abcd":
        fail(pool, name, 0.0)
    assert out(pool) == "ab"


@pytest.mark.parametrize("away", [Mode.DRAINING, Mode.DISABLED, Checked.DOWN], ids=str)
def test_one_that_is_away_for_another_reason_is_not_ejected_but_not_usable_either(
    away: Mode | Checked,
) -> None:
    pool = pool_with(4, 50)
    tell(pool, "d", away)
    for name in "abc":
        fail(pool, name, 0.0)
    assert out(pool) == "ab"
    pool = pool_with(4, 100)
    tell_all(pool, "cd", away)
    for name in "ab":
        fail(pool, name, 0.0)
    assert out(pool) == "a"


def test_what_another_process_has_found_is_bounded_in_the_same_way() -> None:
    pool = pool_with(4, 50)
    assert [tell(pool, name, State.EJECTED) for name in "abcd"] == [True, True, False, False]
    fail(pool, "c", 0.0)
    assert out(pool) == "ab"

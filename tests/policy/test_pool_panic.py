"""When too few are usable, the verdicts are more likely wrong than the backends."""

from __future__ import annotations

import pytest

from tcplb.policy.names import StrategyName
from tcplb.policy.pool import Pool
from tcplb.policy.transition import Checked, Mode
from tests.policy.pools import backend, held, pool_of, taken, tell, tell_all
from tests.policy.test_pool import every_strategy, fail


def four(threshold: int, strategy: StrategyName = StrategyName.ROUND_ROBIN) -> Pool:
    return pool_of([backend(name) for name in "abcd"], strategy, panic_threshold=threshold)


@pytest.mark.parametrize(
    ("threshold", "down", "panics"),
    [
        (50, "a", False),
        (50, "ab", False),  # half of them are not fewer than half of them
        (51, "ab", True),
        (50, "abc", True),
        (25, "abc", False),
        (26, "abc", True),
        (100, "a", True),
        (100, "", False),
        (0, "abc", False),
    ],
)
def test_all_are_used_while_fewer_than_the_threshold_are_usable(
    threshold: int, down: str, panics: bool
) -> None:
    pool = four(threshold)
    tell_all(pool, down, Checked.DOWN)
    used = "abcd" if panics else set("abcd") - set(down)
    assert set(taken(pool, 40)) == set(used)


@every_strategy
def test_those_that_are_down_get_their_whole_share(strategy: StrategyName) -> None:
    pool = four(60, strategy)
    tell_all(pool, "abc", Checked.DOWN)
    if strategy is StrategyName.FIRST:
        assert taken(pool, 40) == {"a": 40}
    else:
        counted = taken(pool, 400)
        assert all(60 <= counted[name] <= 140 for name in "abcd")


def test_the_panic_ends_when_enough_are_back() -> None:
    pool = four(50)
    tell_all(pool, "abc", Checked.DOWN)
    assert set(taken(pool, 40)) == set("abcd")
    tell(pool, "c", Checked.UP)
    assert set(taken(pool, 40)) == set("cd")


def test_those_that_are_ejected_are_used_too_and_need_no_trial() -> None:
    pool = four(60)
    for name in "abc":
        fail(pool, name, 0.0)
    leases = [pool.acquire(b"key", now=1.0) for _ in range(8)]
    assert {lease.backend.name for lease in leases if lease} == set("abcd")
    assert not any(lease.trial for lease in leases if lease)
    later = [pool.acquire(b"key", now=5.0) for _ in range(8)]
    assert sorted(lease.backend.name for lease in later if lease and lease.trial) == list("abc")


def test_what_the_operator_took_out_stays_out_and_is_not_counted() -> None:
    pool = four(50)
    tell(pool, "a", Mode.DRAINING)
    tell(pool, "b", Mode.DISABLED)
    tell(pool, "c", Checked.DOWN)
    assert taken(pool, 20) == {"d": 20}  # 1 of 2
    pool = four(51)
    tell(pool, "a", Mode.DRAINING)
    tell(pool, "b", Mode.DISABLED)
    tell(pool, "c", Checked.DOWN)
    assert taken(pool, 20) == {"c": 10, "d": 10}


def test_a_backend_of_weight_0_is_not_counted_either() -> None:
    pool = pool_of(
        [backend("a"), backend("b"), *(backend(name, weight=0) for name in "cde")],
        panic_threshold=50,
    )
    tell(pool, "a", Checked.DOWN)
    assert taken(pool, 20) == {"b": 20}


def test_each_tier_panics_by_itself() -> None:
    pool = pool_of(
        [backend("a"), backend("b"), *(backend(name, tier=1) for name in "cdef")],
        panic_threshold=60,
    )
    tell(pool, "a", Checked.DOWN)
    tell_all(pool, "cde", Checked.DOWN)
    assert taken(pool, 20) == {"a": 10, "b": 10}


@every_strategy
def test_a_tier_without_a_single_usable_one_does_not_panic_but_leaves_it_to_the_backup(
    strategy: StrategyName,
) -> None:
    pool = pool_of(
        [backend("a"), backend("b"), backend("backup", tier=1)], strategy, panic_threshold=100
    )
    tell_all(pool, "ab", Checked.DOWN)
    assert taken(pool, 20) == {"backup": 20}


@every_strategy
@pytest.mark.parametrize("threshold", [0, 50])
def test_whatever_the_threshold_all_are_used_when_none_is_usable_anywhere(
    strategy: StrategyName, threshold: int
) -> None:
    pool = four(threshold, strategy)
    tell_all(pool, "abcd", Checked.DOWN)
    counted = held(pool, 40)
    assert counted.total() == 40
    assert strategy is StrategyName.FIRST or set(counted) == set("abcd")


def test_limits_hold_in_a_panic() -> None:
    pool = pool_of([backend(name, limit=2) for name in "abc"], panic_threshold=100)
    tell_all(pool, "ab", Checked.DOWN)
    assert held(pool, 40) == {"a": 2, "b": 2, "c": 2}
    assert pool.full()

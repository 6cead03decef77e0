"""Keyed strategies whose busiest backends pass keys on."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from math import ceil
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.policy.bounded_load import slots
from tcplb.policy.lease import Lease
from tcplb.policy.names import StrategyName
from tcplb.policy.occupancy import LocalOccupancy
from tcplb.policy.pool import Pool
from tcplb.policy.rules import PoolRules
from tcplb.policy.transition import Checked
from tests.policy.backends import maker, names
from tests.policy.pools import backend, held, pool_of, taken, tell, tell_all
from tests.policy.test_pool import acquire, fail

KEYED = [StrategyName.HASH, StrategyName.MAGLEV, StrategyName.RENDEZVOUS]
keyed = pytest.mark.parametrize("strategy", KEYED)


def bounded(factor: int, strategy: StrategyName = StrategyName.HASH, count: int = 4) -> Pool:
    return pool_of(
        [backend(name) for name in "abcdefgh"[:count]], strategy, hash_balance_factor=factor
    )


def all_on_one_key(pool: Pool, sessions: int) -> list[str]:
    return [acquire(pool, 0.0, key=b"hot").backend.name for _ in range(sessions)]


def order_of(pool: Pool, key: bytes = b"hot") -> list[str]:
    return names(pool.tiers[0].strategy.order(key))


@keyed
def test_without_a_bound_one_hot_key_is_all_on_its_owner(strategy: StrategyName) -> None:
    pool = bounded(0, strategy)
    assert all_on_one_key(pool, 100) == [order_of(pool)[0]] * 100
    assert not any(pool.saturated(one) for one in pool.backends)


@keyed
def test_with_a_bound_it_is_spread_and_nobody_has_more_than_the_bound(
    strategy: StrategyName,
) -> None:
    pool = bounded(125, strategy)
    counted = Counter(all_on_one_key(pool, 100))
    most = ceil(100 * 1.25 / 4)
    assert max(counted.values()) <= most + 1
    # The owner has as much as it may, and so has the next one; what is left is the last one's.
    first, second, *_ = order_of(pool)
    assert counted[first] >= most - 1
    assert counted[second] >= most - 1


@keyed
def test_what_the_owner_passes_on_goes_to_the_next_in_the_keys_own_order(
    strategy: StrategyName,
) -> None:
    pool = bounded(200, strategy)
    order = order_of(pool)
    placed = all_on_one_key(pool, 40)
    before: Counter[str] = Counter()
    for number, name in enumerate(placed):
        for passed_by in order[: order.index(name)]:
            assert before[passed_by] >= floor_of_slots(number + 1, 200, 4)
        before[name] += 1
    assert len(before) > 1


def floor_of_slots(connections: int, factor: int, count: int) -> int:
    return max(1, connections * factor // 100 // count)


@keyed
def test_keys_that_are_spread_well_stay_where_they_are_under_a_large_bound(
    strategy: StrategyName,
) -> None:
    with_bound, without = bounded(1000, strategy, count=2), bounded(0, strategy, count=2)
    keys = [b"/%d" % number for number in range(300)]
    # The first few have slots of 1 each; from then on the average is large enough.
    placed = [
        [acquire(pool, 0.0, key=key).backend.name for key in keys] for pool in (with_bound, without)
    ]
    assert placed[0] == placed[1]


@keyed
def test_connections_that_follow_each_other_never_reach_the_bound(strategy: StrategyName) -> None:
    assert taken(bounded(101, strategy), 200) == taken(bounded(0, strategy), 200)


@keyed
def test_a_backend_that_has_less_to_do_again_has_its_keys_again(strategy: StrategyName) -> None:
    pool = bounded(125, strategy)
    owner = order_of(pool)[0]
    leases = [acquire(pool, 0.0, key=b"hot")]
    while leases[-1].backend.name == owner or len(leases) < 40:
        leases.append(acquire(pool, 0.0, key=b"hot"))
    for lease in leases:
        if lease.backend.name == owner:
            pool.release(lease)
    assert acquire(pool, 0.0, key=b"hot").backend.name == owner


def test_the_bound_is_by_weight() -> None:
    backends = [backend("a", weight=3), backend("b")]
    pool = pool_of(backends, StrategyName.HASH, hash_balance_factor=110)
    assert held(pool, 400)["a"] == pytest.approx(300, abs=31)


def test_a_strategy_without_keys_has_no_bound() -> None:
    backends = [backend("a"), backend("b")]
    pool = pool_of(backends, StrategyName.FIRST, hash_balance_factor=101)
    assert held(pool, 50) == {"a": 50}


# -- health and limits ------------------------------------------------------------------------


def test_the_slots_of_one_that_is_away_are_shared_by_the_others() -> None:
    pool = bounded(110)
    tell_all(pool, "ab", Checked.DOWN)
    counted = held(pool, 100)
    assert set(counted) == {"c", "d"}
    assert max(counted.values()) <= 56


@keyed
def test_the_only_one_that_is_usable_takes_all(strategy: StrategyName) -> None:
    pool = bounded(101, strategy)
    tell_all(pool, "abc", Checked.DOWN)
    assert held(pool, 50) == {"d": 50}


@keyed
def test_when_the_others_were_tried_one_that_is_over_its_bound_is_used(
    strategy: StrategyName,
) -> None:
    pool = bounded(101, strategy)
    assert held(pool, 50, exclude={"a", "b", "c"}) == {"d": 50}


@keyed
def test_when_the_others_are_full_one_that_is_over_its_bound_is_used(
    strategy: StrategyName,
) -> None:
    backends = [backend("a", limit=1), backend("b", limit=1), backend("c")]
    pool = pool_of(backends, strategy, hash_balance_factor=101)
    assert held(pool, 50) == {"a": 1, "b": 1, "c": 48}


@keyed
def test_when_none_is_usable_all_that_are_enabled_are_used(strategy: StrategyName) -> None:
    pool = bounded(125, strategy)
    tell_all(pool, "abcd", Checked.DOWN)
    assert held(pool, 50).total() == 50


def test_when_all_are_full_it_says_so() -> None:
    pool = pool_of(
        [backend(name, limit=2) for name in "abc"], StrategyName.HASH, hash_balance_factor=125
    )
    assert held(pool, 50) == {"a": 2, "b": 2, "c": 2}
    assert pool.full()


def test_the_bound_of_a_backup_is_by_the_weights_of_its_own_tier() -> None:
    backends = [
        backend("a", weight=100),
        backend("c", tier=1),
        backend("d", tier=1),
    ]
    pool = pool_of(backends, StrategyName.HASH, hash_balance_factor=125)
    tell(pool, "a", Checked.DOWN)
    counted = Counter(all_on_one_key(pool, 40))
    assert sorted(counted.values()) == pytest.approx([15, 25], abs=1)


def test_a_trial_goes_out_though_it_is_bounded() -> None:
    pool = bounded(125)
    fail(pool, "a", 0.0)
    leases = [acquire(pool, 5.0, key=b"/%d" % number) for number in range(50)]
    assert [lease.backend.name for lease in leases if lease.trial] == ["a"]


def test_the_connections_of_all_processes_count() -> None:
    backends = [backend(name) for name in "abcd"]
    occupancy = LocalOccupancy(4)
    rules = PoolRules(hash_balance_factor=125)
    one, other = (
        Pool(
            "web",
            backends,
            maker(StrategyName.HASH),
            rng=Random(1),
            rules=rules,
            occupancy=occupancy,
        )
        for _ in range(2)
    )
    counted = Counter(all_on_one_key(one, 50)) + Counter(all_on_one_key(other, 50))
    assert max(counted.values()) <= 33


# -- anything ---------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    strategy=st.sampled_from(KEYED),
    factor=st.sampled_from([101, 110, 125, 200]),
    weights=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    moves=st.lists(st.tuples(st.binary(max_size=1), st.booleans()), max_size=60),
)
def test_nobody_gets_one_over_its_slots_for_there_is_always_another_that_has_some_left(
    strategy: StrategyName, factor: int, weights: list[int], moves: list[tuple[bytes, bool]]
) -> None:
    backends = [backend("abcdef"[index], weight=one) for index, one in enumerate(weights)]
    pool = pool_of(backends, strategy, hash_balance_factor=factor)
    total, before = sum(weights), list(accumulate(weights[:-1], initial=0))
    leases: list[Lease] = []
    for key, ends in moves:
        if ends and leases:
            pool.release(leases.pop(len(leases) // 2))
            continue
        connections = len(leases) + 1
        bounds = {
            one.name: slots(connections, factor, one.weight, total, start)
            for one, start in zip(backends, before, strict=True)
        }
        active = {one.name: pool.active(one) for one in backends}
        expected = next(name for name in order_of(pool, key) if active[name] < bounds[name])
        lease = acquire(pool, 0.0, key=key)
        assert lease.backend.name == expected
        leases.append(lease)

from __future__ import annotations

from collections import Counter

import pytest

from tcplb.policy.backend import Backend
from tcplb.policy.lease import Lease
from tcplb.policy.names import StrategyName
from tcplb.policy.occupancy import LocalOccupancy
from tcplb.policy.outcome import Outcome
from tcplb.policy.pool import Pool
from tcplb.policy.transition import State
from tests.policy.backends import backend, limited, named, names, weighted
from tests.policy.test_pool import acquire, dial, every_strategy, fail, make_pool, others, state_of


def fill(pool: Pool, now: float = 0.0) -> list[Lease]:
    """Acquire until there is nothing left."""
    leases = []
    while lease := pool.acquire(b"key", now=now):
        leases.append(lease)
    return leases


@every_strategy
def test_no_backend_gets_more_than_its_limit(strategy: StrategyName) -> None:
    backends = limited(a=2, b=3, c=1)
    pool = make_pool(backends, strategy)
    leases = fill(pool)
    assert Counter(lease.backend.name for lease in leases) == {"a": 2, "b": 3, "c": 1}
    assert [pool.active(backend) for backend in backends] == [2, 3, 1]
    assert pool.active_total == 6


@every_strategy
def test_a_place_that_is_given_back_can_be_taken(strategy: StrategyName) -> None:
    pool = make_pool(limited(a=2, b=2), strategy)
    leases = fill(pool)
    for lease in leases:
        pool.release(lease)
        assert acquire(pool, 0.0).backend is lease.backend


@every_strategy
def test_a_backend_without_a_limit_takes_what_the_others_cannot(strategy: StrategyName) -> None:
    pool = make_pool(limited(a=1, b=0), strategy)
    assert Counter(acquire(pool, 0.0).backend.name for _ in range(50)) == {"a": 1, "b": 49}


def test_with_hash_the_next_along_the_ring_takes_over_while_the_first_is_full() -> None:
    backends = limited(a=1, b=1, c=1, d=1)
    pool = make_pool(backends, StrategyName.HASH)
    order = names(pool.tiers[0].strategy.order(b"key"))
    assert [lease.backend.name for lease in fill(pool)] == order


def test_processes_that_share_the_counts_share_the_limit() -> None:
    backends = limited(a=2, b=2)
    occupancy = LocalOccupancy(2)
    one = make_pool(backends, occupancy=occupancy)
    other = make_pool(backends, occupancy=occupancy)
    held = [acquire(one, 0.0), acquire(one, 0.0), acquire(other, 0.0)]
    assert len(fill(other)) == 1
    assert one.acquire(b"key", now=0.0) is None
    assert [one.active(backend) for backend in backends] == [2, 2]
    assert (one.active_total, other.active_total) == (2, 2)  # each has its own
    one.release(held[0])
    assert acquire(other, 0.0).backend is held[0].backend


def test_least_connections_goes_by_the_connections_of_all_processes() -> None:
    backends = named("a", "b", "c")
    occupancy = LocalOccupancy(3)
    pools = [
        make_pool(backends, StrategyName.LEAST_CONNECTIONS, occupancy=occupancy) for _ in range(2)
    ]
    for number in range(60):
        acquire(pools[number % 2], 0.0)
    assert [pools[0].active(backend) for backend in backends] == [20, 20, 20]


# -- full, or nothing there -------------------------------------------------------------------


@every_strategy
def test_when_all_are_at_their_limits_it_is_full(strategy: StrategyName) -> None:
    pool = make_pool(limited(a=1, b=1), strategy)
    fill(pool)
    assert pool.full()
    assert pool.acquire(b"key", now=0.0, exclude={"a"}) is None
    assert pool.full({"a"})


@pytest.mark.parametrize("backends", [[], weighted(a=0), weighted(a=0, b=0)], ids=str)
def test_without_a_usable_backend_it_is_not_full(backends: list[Backend]) -> None:
    pool = make_pool(backends)
    assert pool.acquire(b"key", now=0.0) is None
    assert not pool.full()


def test_when_all_were_tried_it_is_not_full() -> None:
    pool = make_pool([*limited(a=1, b=1), backend("drained", weight=0)])
    assert pool.acquire(b"key", now=0.0, exclude={"a", "b"}) is None
    assert not pool.full({"a", "b"})


# -- limits and health ------------------------------------------------------------------------


def test_to_be_full_says_nothing_of_health() -> None:
    pool = make_pool(limited(a=1, b=1))
    fill(pool)
    for _ in range(10):
        assert pool.acquire(b"key", now=0.0) is None
    assert state_of(pool, "a") is state_of(pool, "b") is State.IN


def test_an_ejected_backend_is_no_resort_while_a_healthy_one_is_only_full() -> None:
    pool = make_pool(limited(a=0, b=1))
    fail(pool, "a", 0.0)
    assert acquire(pool, 1.0).backend.name == "b"
    assert pool.acquire(b"key", now=1.0) is None
    assert pool.full()  # so the session may wait
    assert acquire(pool, 1.0, {"b"}).backend.name == "a"


def test_the_limit_of_an_ejected_backend_holds_though_nobodys_verdict_is_trusted() -> None:
    pool = make_pool(limited(a=1, b=1, c=2))
    fail(pool, "a", 0.0)
    fail(pool, "c", 0.0)
    left = []
    while lease := pool.acquire(b"key", now=1.0, exclude={"b"}):
        left.append(lease.backend.name)
    assert Counter(left) == {"a": 1, "c": 2}
    assert pool.full({"b"})


def test_of_ejected_backends_one_that_is_full_is_passed_by_for_the_next() -> None:
    pool = make_pool(limited(a=1, b=1, c=1), StrategyName.HASH)
    first, second, last = names(pool.tiers[0].strategy.order(b"key"))
    fail(pool, first, 0.0)
    fail(pool, second, 0.0)
    assert [acquire(pool, 1.0, {last}).backend.name for _ in range(2)] == [first, second]
    assert pool.acquire(b"key", now=1.0, exclude={last}) is None


def test_the_trial_of_a_full_backend_waits_until_there_is_room() -> None:
    pool = make_pool(limited(a=1, b=0))
    still_open = acquire(pool, 0.0, {"b"})
    for _ in range(3):  # dials of before that fail one by one
        late = Lease(still_open.backend, False, 0.0, still_open.position, still_open.place)
        pool.observe(late, Outcome.TIMED_OUT, now=1.0)
    assert state_of(pool, "a") is State.EJECTED
    assert [acquire(pool, 6.0).backend.name for _ in range(10)] == ["b"] * 10
    assert state_of(pool, "a") is State.EJECTED
    pool.release(still_open)
    assert acquire(pool, 6.0, {"b"}).trial


def test_a_backend_of_limit_1_comes_back_after_its_trial() -> None:
    pool = make_pool(limited(a=1, b=0))
    fail(pool, "a", 0.0)
    assert dial(pool, Outcome.CONNECTED, 5.0, others(pool, "a"))[1] is not None
    assert state_of(pool, "a") is State.IN

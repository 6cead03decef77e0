"""Backends of a higher tier are a backup: used only while no other is usable."""

from __future__ import annotations

import pytest

from tcplb.policy.names import StrategyName
from tcplb.policy.outcome import Outcome
from tcplb.policy.pool import Pool
from tcplb.policy.transition import Checked, Mode, State
from tests.policy.pools import backend, held, pool_of, taken, tell, tell_all
from tests.policy.test_pool import acquire, every_strategy, fail, served, state_of

AWAY = [Mode.DRAINING, Mode.DISABLED, Checked.DOWN, State.EJECTED]
"""All that may be said against a backend."""


def two_and_a_backup(strategy: StrategyName = StrategyName.ROUND_ROBIN, limit: int = 0) -> Pool:
    backends = [
        backend("backup", tier=1, limit=limit),
        backend("a", limit=limit),
        backend("b", limit=limit),
    ]
    return pool_of(backends, strategy)


@every_strategy
def test_a_backup_gets_nothing_while_another_is_usable(strategy: StrategyName) -> None:
    pool = two_and_a_backup(strategy)
    assert "backup" not in taken(pool, 100)
    tell(pool, "a", Checked.DOWN)
    assert taken(pool, 100) == {"b": 100}


@every_strategy
@pytest.mark.parametrize("away", AWAY[:3], ids=str)
def test_it_gets_all_while_no_other_is_and_nothing_afterwards(
    strategy: StrategyName, away: Mode | Checked
) -> None:
    pool = two_and_a_backup(strategy)
    tell_all(pool, "ab", away)
    assert taken(pool, 100) == {"backup": 100}
    tell(pool, "b", Checked.UP if isinstance(away, Checked) else Mode.ENABLED)
    assert taken(pool, 100) == {"b": 100}


def test_those_of_a_tier_share_by_their_own_strategy() -> None:
    backends = [backend("a"), backend("c", tier=1, weight=3), backend("d", tier=1)]
    pool = pool_of(backends)
    tell(pool, "a", Checked.DOWN)
    assert taken(pool, 100) == {"c": 75, "d": 25}


def test_tiers_are_used_by_their_number_and_not_by_the_order_of_the_config() -> None:
    pool = pool_of([backend("c", tier=7), backend("b", tier=2), backend("a")])
    order = []
    for name in "abc":
        order += [*taken(pool, 10)]
        tell(pool, name, Checked.DOWN)
    assert order == ["a", "b", "c"]


def test_a_pool_of_backups_only_uses_the_lowest_of_them() -> None:
    assert taken(pool_of([backend("a", tier=2), backend("b", tier=5)]), 10) == {"a": 10}


def test_backends_of_weight_0_leave_their_tier_to_the_backup() -> None:
    pool = pool_of([backend("a", weight=0), backend("backup", tier=1)])
    assert taken(pool, 10) == {"backup": 10}


# -- full is not away -------------------------------------------------------------------------


@every_strategy
def test_a_full_tier_is_waited_for(strategy: StrategyName) -> None:
    pool = two_and_a_backup(strategy, limit=2)
    assert held(pool, 100) == {"a": 2, "b": 2}
    assert pool.acquire(b"key", now=0.0) is None
    assert pool.full()
    tell(pool, "a", Checked.DOWN)
    assert pool.acquire(b"key", now=0.0) is None  # b is usable still
    tell(pool, "b", Checked.DOWN)
    assert held(pool, 100) == {"backup": 2}


def test_a_session_that_has_tried_the_first_tier_goes_on_to_the_backup() -> None:
    pool = two_and_a_backup()
    assert acquire(pool, 0.0, {"a", "b"}).backend.name == "backup"
    assert served(pool, 10, 0.0, down="ab").total() == 10


def test_one_that_has_tried_the_one_with_room_waits_for_the_other() -> None:
    pool = pool_of([backend("a"), backend("b", limit=1), backend("backup", tier=1)])
    acquire(pool, 0.0, {"a"})
    assert pool.acquire(b"key", now=0.0, exclude={"a"}) is None
    assert pool.full({"a"})


def test_room_in_a_backup_goes_to_nobody_who_is_to_wait_for_the_first_tier() -> None:
    """A session of an outage ends on the backup, after the others have come back."""
    pool = pool_of([backend("a", limit=1), backend("backup", tier=1, limit=1)])
    tell(pool, "a", Checked.DOWN)
    of_the_outage = acquire(pool, 0.0)
    tell(pool, "a", Checked.UP)
    on_a = acquire(pool, 0.0)
    pool.release(of_the_outage)
    assert pool.acquire_freed(of_the_outage, now=0.0) is None
    assert pool.active_total == 1
    # For one that has tried a, it is what there is to be had.
    freed = pool.acquire_freed(of_the_outage, now=0.0, exclude={"a"})
    assert freed is not None
    pool.release(freed)
    pool.release(on_a)
    given = pool.acquire_freed(on_a, now=0.0)
    assert given is not None
    assert given.backend.name == "a"


def test_room_in_a_backup_is_given_on_while_it_is_in_use() -> None:
    pool = pool_of([backend("a", limit=1), backend("backup", tier=1, limit=1)])
    tell(pool, "a", Checked.DOWN)
    lease = acquire(pool, 0.0)
    pool.release(lease)
    assert pool.acquire_freed(lease, now=0.0) is not None


def test_nor_to_one_that_is_to_wait_for_a_trial() -> None:
    pool = pool_of([backend("a", limit=1), backend("backup", tier=1, limit=1)])
    fail(pool, "a", 0.0)
    on_backup = acquire(pool, 1.0)
    pool.release(on_backup)
    assert pool.acquire_freed(on_backup, now=5.0) is None  # a has room, and its trial is due
    assert acquire(pool, 5.0).trial
    assert pool.acquire_freed(on_backup, now=5.0) is not None


def test_for_a_backend_of_weight_0_nobody_waits() -> None:
    pool = pool_of([backend("a", weight=0), backend("backup", tier=1, limit=1)])
    lease = acquire(pool, 0.0)
    pool.release(lease)
    assert pool.acquire_freed(lease, now=0.0) is not None


# -- trials, and the last resort --------------------------------------------------------------


def test_a_trial_that_is_due_comes_before_the_backup() -> None:
    pool = pool_of([backend("a"), backend("backup", tier=1)])
    fail(pool, "a", 0.0)
    assert taken(pool, 10, 4.9) == {"backup": 10}
    trial = acquire(pool, 5.0)
    assert (trial.backend.name, trial.trial) == ("a", True)
    assert acquire(pool, 5.0).backend.name == "backup"  # while it is out
    pool.observe(trial, Outcome.CONNECTED, now=5.1)
    assert taken(pool, 10, 5.1) == {"a": 10}


def test_a_backup_that_is_usable_lets_the_last_of_the_first_tier_be_ejected() -> None:
    pool = pool_of([backend("a"), backend("backup", tier=1)])
    fail(pool, "a", 0.0)
    assert state_of(pool, "a") is State.EJECTED
    fail(pool, "backup", 0.0, times=20)
    assert state_of(pool, "backup") is State.IN


@every_strategy
def test_when_none_is_usable_anywhere_the_lowest_tier_is_trusted_first(
    strategy: StrategyName,
) -> None:
    pool = two_and_a_backup(strategy)
    tell_all(pool, ["a", "b", "backup"], Checked.DOWN)
    tried: list[str] = []
    while lease := pool.acquire(b"key", now=0.0, exclude=tried):
        tried.append(lease.backend.name)
    assert sorted(tried[:2]) == ["a", "b"]
    assert tried[2:] == ["backup"]


def test_what_the_operator_took_out_is_no_last_resort() -> None:
    pool = two_and_a_backup()
    tell(pool, "a", Mode.DRAINING)
    tell(pool, "b", Mode.DISABLED)
    tell(pool, "backup", Checked.DOWN)
    assert taken(pool, 10) == {"backup": 10}
    tell(pool, "backup", Mode.DISABLED)
    assert pool.acquire(b"key", now=0.0) is None
    assert not pool.full()


def test_a_tier_counts_who_is_wanted_and_who_is_usable() -> None:
    backends = [backend("a", weight=3), backend("b"), backend("c", weight=0), backend("d", tier=1)]
    pool = pool_of(backends)
    first, second = pool.tiers
    assert (first.size, first.usable, first.usable_weight) == (2, 2, 4)
    assert (second.size, second.usable, second.usable_weight) == (1, 1, 1)
    tell(pool, "a", Checked.DOWN)
    assert (first.size, first.usable, first.usable_weight) == (2, 1, 1)
    tell(pool, "b", Mode.DRAINING)
    assert (first.size, first.usable, first.usable_weight) == (1, 0, 0)
    assert (second.size, second.usable, second.usable_weight) == (1, 1, 1)


def test_a_backend_that_is_disabled_from_the_start_is_not_used_until_it_is_enabled() -> None:
    pool = pool_of([backend("a"), backend("b")], modes={"a": Mode.DISABLED})
    assert taken(pool, 10) == {"b": 10}
    tell(pool, "a", Mode.ENABLED)
    assert taken(pool, 10) == {"a": 5, "b": 5}

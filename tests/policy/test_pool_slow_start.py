"""A backend that has come back gets its whole share only after a while."""

from __future__ import annotations

import pytest

from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.names import StrategyName
from tcplb.policy.outcome import Outcome
from tcplb.policy.pool import Pool
from tcplb.policy.transition import Checked, Mode, State
from tests.policy.pools import backend, held, pool_of, taken, tell, tell_all
from tests.policy.test_pool import acquire, dial, every_strategy, fail, others

WINDOW = 10.0
SHARES = [(0.0, 0.1), (0.9, 0.1), (3.0, 0.3), (5.0, 0.5), (9.0, 0.9), (10.0, 1.0), (60.0, 1.0)]
"""Seconds since the recovery, and the part of its weight that is in force."""

KEYED = [StrategyName.HASH, StrategyName.MAGLEV, StrategyName.RENDEZVOUS]
BY_LOAD = [StrategyName.LEAST_CONNECTIONS, StrategyName.POWER_OF_TWO, StrategyName.PEAK_EWMA]
BY_TURNS = [StrategyName.ROUND_ROBIN, StrategyName.RANDOM]

keyed = pytest.mark.parametrize("strategy", KEYED)
by_load = pytest.mark.parametrize("strategy", BY_LOAD)
by_turns = pytest.mark.parametrize("strategy", BY_TURNS)


def pool_with_window(
    strategy: StrategyName = StrategyName.ROUND_ROBIN, *, limit: int = 0, weight: int = 1
) -> Pool:
    backends = [backend("a", limit=limit), backend("b"), backend("c", weight=weight)]
    return pool_of(backends, strategy, slow_start=WINDOW)


def come_back(pool: Pool, name: str, now: float = 0.0) -> None:
    tell(pool, name, Checked.DOWN, now)
    tell(pool, name, Checked.UP, now)


def placed(pool: Pool, now: float, keys: int = 600) -> list[str]:
    """Return who has each key."""
    owners = []
    for key in range(keys):
        lease = acquire(pool, now, key=b"/%d" % key)
        owners.append(lease.backend.name)
        pool.release(lease)
    return owners


def assert_about(
    count: int, sessions: int, effective: float, *, of: float, weight: float = 1.0
) -> None:
    """It has between what its turns alone give it and what a pool of that weight would."""
    least, most = effective / of, effective / (of - weight + effective)
    assert sessions * least - 70 < count < sessions * most + 70


def weights(pool: Pool) -> list[float]:
    return pool.tiers[0].load.weights


# -- how much ---------------------------------------------------------------------------------


@by_turns
@pytest.mark.parametrize(("seconds", "share"), SHARES)
def test_it_gets_that_part_of_the_connections_that_it_would_have(
    strategy: StrategyName, seconds: float, share: float
) -> None:
    pool = pool_with_window(strategy)
    come_back(pool, "c", 100.0)
    counted = taken(pool, 3000, 100.0 + seconds)
    assert_about(counted["c"], 3000, share, of=3)
    assert abs(counted["a"] - counted["b"]) < 180


@by_turns
def test_a_heavy_one_gets_its_part_of_its_own_share(strategy: StrategyName) -> None:
    pool = pool_with_window(strategy, weight=4)
    come_back(pool, "c")
    assert_about(taken(pool, 3000, 5.0)["c"], 3000, 4 * 0.5, of=6, weight=4)


def test_by_first_it_leaves_the_rest_to_the_second() -> None:
    pool = pool_with_window(StrategyName.FIRST)
    come_back(pool, "a")
    counted = taken(pool, 1000, 3.0)
    assert counted["a"] == pytest.approx(300, abs=60)
    assert counted["b"] == 1000 - counted["a"]


@by_load
@pytest.mark.parametrize(("seconds", "share"), SHARES)
def test_strategies_by_load_are_told_its_weight(
    strategy: StrategyName, seconds: float, share: float
) -> None:
    pool = pool_with_window(strategy, weight=4)
    come_back(pool, "c", 100.0)
    taken(pool, 1, 100.0 + seconds)
    assert weights(pool) == pytest.approx([1.0, 1.0, 4.0 * share])


def test_by_least_connections_it_has_that_part_of_those_that_are_open() -> None:
    pool = pool_with_window(StrategyName.LEAST_CONNECTIONS)
    come_back(pool, "c")
    assert held(pool, 250, 5.0) == {"a": 100, "b": 100, "c": 50}
    assert held(pool, 50, 10.0) == {"c": 50}


@by_load
def test_but_none_of_their_connections_passes_it_by(strategy: StrategyName) -> None:
    """Its lower weight is all; if it has the least to do even so, it is the one."""
    pool = pool_of([backend("a"), backend("c")], strategy, slow_start=WINDOW)
    held(pool, 20, exclude={"c"})
    come_back(pool, "c")
    assert taken(pool, 50) == {"c": 50}


# -- keys -------------------------------------------------------------------------------------


@keyed
@pytest.mark.parametrize(("seconds", "share"), SHARES)
def test_that_part_of_its_keys_is_on_it(
    strategy: StrategyName, seconds: float, share: float
) -> None:
    pool = pool_with_window(strategy)
    before = placed(pool, 0.0)
    come_back(pool, "c", 100.0)
    after = placed(pool, 100.0 + seconds)
    assert after.count("c") == pytest.approx(before.count("c") * share, abs=35)


@keyed
def test_each_key_moves_back_once_and_stays(strategy: StrategyName) -> None:
    pool = pool_with_window(strategy)
    before = placed(pool, 0.0)
    tell(pool, "c", Checked.DOWN)
    without = placed(pool, 0.0)
    tell(pool, "c", Checked.UP)
    back: set[int] = set()
    for tenth in range(101):
        now = placed(pool, tenth / 10)
        on_c = {key for key, owner in enumerate(now) if owner == "c"}
        assert back <= on_c
        back = on_c
        # The others are where they were without it, and keys of others never move.
        assert all(owner in {"c", without[key]} for key, owner in enumerate(now))
    assert placed(pool, 10.0) == before


@keyed
def test_which_keys_come_back_first_is_the_same_everywhere(strategy: StrategyName) -> None:
    pools = [pool_with_window(strategy) for _ in range(2)]
    for pool in pools:
        come_back(pool, "c")
    assert placed(pools[0], 4.0) == placed(pools[1], 4.0)


# -- when -------------------------------------------------------------------------------------


def test_at_the_start_of_the_process_nobody_starts_slowly() -> None:
    for strategy in BY_TURNS:
        assert taken(pool_with_window(strategy), 3000)["c"] == pytest.approx(1000, abs=90)
    for strategy in BY_LOAD:
        pool = pool_with_window(strategy)
        taken(pool, 10)
        assert weights(pool) == [1.0, 1.0, 1.0]
    for strategy in KEYED:
        without = pool_of(pool_with_window().backends, strategy)
        assert placed(pool_with_window(strategy), 0.0) == placed(without, 0.0)


def test_without_the_option_it_has_its_whole_share_at_once() -> None:
    pool = pool_of([backend("a"), backend("b")])
    come_back(pool, "b")
    assert taken(pool, 100) == {"a": 50, "b": 50}


@pytest.mark.parametrize(
    ("away", "back"),
    [
        (Checked.DOWN, Checked.UP),
        (Mode.DRAINING, Mode.ENABLED),
        (Mode.DISABLED, Mode.ENABLED),
        (State.EJECTED, State.IN),
    ],
    ids=str,
)
def test_any_recovery_starts_slowly(
    away: Mode | Checked | State, back: Mode | Checked | State
) -> None:
    pool = pool_with_window(StrategyName.LEAST_CONNECTIONS)
    tell(pool, "c", away, 1.0)
    tell(pool, "c", back, 2.0)
    taken(pool, 1, 4.0)
    assert weights(pool) == pytest.approx([1.0, 1.0, 0.2])


def test_one_that_a_trial_has_brought_back_starts_slowly() -> None:
    pool = pool_with_window()
    fail(pool, "c", 0.0)
    assert dial(pool, Outcome.CONNECTED, 5.0, others(pool, "c"))[1] is not None
    assert_about(taken(pool, 3000, 8.0)["c"], 3000, 0.3, of=3)


def test_it_begins_only_when_nothing_speaks_against_it_any_more() -> None:
    pool = pool_with_window(StrategyName.LEAST_CONNECTIONS)
    tell(pool, "c", Checked.DOWN, 0.0)
    tell(pool, "c", Mode.DRAINING, 0.0)
    tell(pool, "c", Checked.UP, 1.0)
    tell(pool, "c", Mode.ENABLED, 5.0)
    taken(pool, 1, 9.0)
    assert weights(pool)[2] == pytest.approx(0.4)


def test_what_says_nothing_new_does_not_begin_it_anew() -> None:
    pool = pool_with_window(StrategyName.LEAST_CONNECTIONS)
    come_back(pool, "c")
    tell(pool, "c", Checked.UP, 5.0)
    tell(pool, "c", Mode.ENABLED, 5.0)
    tell(pool, "c", State.IN, 5.0)
    taken(pool, 1, 6.0)
    assert weights(pool)[2] == pytest.approx(0.6)


def test_one_that_is_away_again_begins_anew() -> None:
    pool = pool_with_window(StrategyName.LEAST_CONNECTIONS)
    come_back(pool, "c", 0.0)
    taken(pool, 1, 5.0)
    tell(pool, "c", Checked.DOWN, 6.0)
    assert "c" not in taken(pool, 50, 20.0)
    tell(pool, "c", Checked.UP, 30.0)
    taken(pool, 1, 30.0)
    assert weights(pool)[2] == pytest.approx(0.1)
    taken(pool, 1, 40.0)
    assert weights(pool)[2] == 1.0


# -- nobody is turned away --------------------------------------------------------------------


@every_strategy
def test_the_only_one_that_is_left_gets_everything(strategy: StrategyName) -> None:
    pool = pool_with_window(strategy)
    come_back(pool, "c")
    tell_all(pool, "ab", Checked.DOWN)
    assert taken(pool, 100) == {"c": 100}


@every_strategy
def test_so_does_the_only_one_that_was_not_tried(strategy: StrategyName) -> None:
    pool = pool_with_window(strategy)
    come_back(pool, "c")
    assert taken(pool, 50, exclude={"a", "b"}) == {"c": 50}


@every_strategy
def test_and_the_only_one_with_room(strategy: StrategyName) -> None:
    pool = pool_of([backend("a", limit=1), backend("c")], strategy, slow_start=WINDOW)
    come_back(pool, "c")
    assert held(pool, 50) == {"a": 1, "c": 49}


@every_strategy
def test_when_all_come_back_together_they_share_as_ever(strategy: StrategyName) -> None:
    pool = pool_with_window(strategy)
    for name in "abc":
        tell(pool, name, Mode.DISABLED)
    for name in "abc":
        tell(pool, name, Mode.ENABLED)
    counted = taken(pool, 300)
    assert counted.total() == 300
    if strategy not in {StrategyName.FIRST, StrategyName.PEAK_EWMA}:
        assert all(counted[name] > 50 for name in "abc")


@every_strategy
def test_limits_hold_and_a_full_pool_is_full(strategy: StrategyName) -> None:
    pool = pool_of([backend(name, limit=2) for name in "abc"], strategy, slow_start=WINDOW)
    come_back(pool, "c")
    assert held(pool, 50) == {"a": 2, "b": 2, "c": 2}
    assert pool.full()


def test_a_tier_that_is_coming_back_leaves_nothing_to_the_backup() -> None:
    pool = pool_of([backend("a"), backend("backup", tier=1)], slow_start=WINDOW)
    come_back(pool, "a")
    assert taken(pool, 50) == {"a": 50}


@every_strategy
def test_nor_while_it_is_full(strategy: StrategyName) -> None:
    pool = pool_of([backend("a", limit=1), backend("backup", tier=1)], strategy, slow_start=WINDOW)
    come_back(pool, "a")
    assert held(pool, 50) == {"a": 1}
    for key in range(50):
        assert pool.acquire(b"/%d" % key, now=0.0) is None


def test_it_may_be_ejected_again_meanwhile() -> None:
    pool = pool_of(
        [backend("a"), backend("c")], slow_start=WINDOW, eject=EjectPolicy(failures=1, jitter=0)
    )
    come_back(pool, "c")
    fail(pool, "c", 1.0, times=1)
    assert taken(pool, 50, 2.0) == {"a": 50}
    assert acquire(pool, 6.0, {"a"}).trial

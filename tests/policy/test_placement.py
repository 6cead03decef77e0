from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.policy.backend import Backend
from tcplb.policy.names import StrategyName
from tcplb.policy.placement import (
    Comparison,
    compare,
    place,
    synthetic_keys,
    weight_shares,
)
from tcplb.policy.pool import Pool
from tcplb.policy.strategy import MakeStrategy
from tcplb.policy.transition import Checked, Mode, Transition
from tests.policy.backends import named, weighted

KEYED = [StrategyName.HASH, StrategyName.MAGLEV, StrategyName.RENDEZVOUS]

NAMES = st.sampled_from(["a", "b", "c", None])


def make_pool(
    backends: list[Backend],
    strategy: StrategyName = StrategyName.HASH,
    modes: dict[str, Mode] | None = None,
) -> Pool:
    rng = Random(1)
    return Pool("web", backends, MakeStrategy(strategy, rng, 251), rng=rng, modes=modes)


# -- where a key is ---------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", KEYED)
def test_a_key_is_where_the_pool_sends_it(strategy: StrategyName) -> None:
    pool = make_pool(named("a", "b", "c"), strategy)
    for key in synthetic_keys(50):
        lease = pool.acquire(key, now=0.0)
        assert lease is not None
        pool.release(lease)
        assert place(pool, key) == lease.backend.name
    assert pool.active_total == 0


def test_a_key_of_a_draining_backend_is_with_the_next_one() -> None:
    backends = named("a", "b")
    pool = make_pool(backends, modes={"a": Mode.DRAINING})
    assert {place(pool, key) for key in synthetic_keys(50)} == {"b"}


def test_without_a_backend_that_takes_connections_a_key_is_nowhere() -> None:
    assert place(make_pool(weighted(a=0)), b"x") is None


def test_synthetic_keys_are_always_the_same_and_all_different() -> None:
    assert list(synthetic_keys(1000)) == list(synthetic_keys(2000))[:1000]
    assert len(set(synthetic_keys(1000))) == 1000


# -- what a change moves ----------------------------------------------------------------------


def moved(
    before: list[Backend], after: list[Backend], strategy: StrategyName, keys: int = 4000
) -> Comparison:
    pools = make_pool(before, strategy), make_pool(after, strategy)
    return compare(*pools, synthetic_keys(keys))


@pytest.mark.parametrize("strategy", KEYED)
def test_no_change_moves_nothing(strategy: StrategyName) -> None:
    same = moved(named("a", "b"), named("b", "a"), strategy)
    assert (same.keys, same.moved, same.least, same.moves) == (4000, 0, 0, {})
    assert same.before == same.after


@pytest.mark.parametrize("strategy", [StrategyName.HASH, StrategyName.RENDEZVOUS])
def test_who_leaves_moves_its_own_keys_only(strategy: StrategyName) -> None:
    change = moved(named("a", "b", "c"), named("a", "c"), strategy)
    assert {source for source, _ in change.moves} == {"b"}
    assert change.moved == change.least == change.before["b"]
    assert change.after.get("b", 0) == 0


@pytest.mark.parametrize("strategy", [StrategyName.HASH, StrategyName.RENDEZVOUS])
def test_who_comes_takes_keys_for_itself_only(strategy: StrategyName) -> None:
    change = moved(named("a", "b"), named("a", "b", "c"), strategy)
    assert {target for _, target in change.moves} == {"c"}
    assert change.moved == change.least == change.after["c"]


def test_maglev_moves_a_few_more_than_it_must() -> None:
    change = moved(named("a", "b", "c"), named("a", "c"), StrategyName.MAGLEV)
    assert change.before["b"] <= change.moved
    assert change.least < change.moved < 2 * change.least


def test_there_are_as_many_moves_as_the_weights_of_rendezvous_say() -> None:
    """The lot of i is an exponential draw over w_i, and the least one wins.

    So i stays with its key with a probability of 1 / Σ_k max(w_k / w_i, w'_k / w'_i).
    """
    before, after = {"a": 1, "b": 2, "c": 3}, {"a": 3, "b": 2, "c": 1}
    stay = sum(
        1 / sum(max(before[k] / before[i], after[k] / after[i]) for k in before) for i in before
    )
    change = moved(weighted(**before), weighted(**after), StrategyName.RENDEZVOUS, 20_000)
    share = change.moved / change.keys
    assert abs(share - (1 - stay)) < change.error(share)


# -- what is counted --------------------------------------------------------------------------


def test_moves_are_listed_by_their_size() -> None:
    comparison = Comparison(10, {("a", "a"): 5, ("a", "b"): 1, ("b", "a"): 3, ("b", None): 1})
    assert list(comparison.moves.items()) == [(("b", "a"), 3), (("a", "b"), 1), (("b", None), 1)]
    assert comparison.before == {"a": 6, "b": 4}
    assert comparison.after == {"a": 8, "b": 1, None: 1}
    assert comparison.moved == 5
    # b gives 3 away that it has too many; what a gives to b comes back elsewhere.
    assert comparison.least == 3


@given(st.dictionaries(st.tuples(NAMES, NAMES), st.integers(1, 9), min_size=1))
def test_no_more_have_to_move_than_do(flows: dict[tuple[str | None, str | None], int]) -> None:
    comparison = Comparison(sum(flows.values()), flows)
    assert 0 <= comparison.least <= comparison.moved <= comparison.keys
    assert sum(comparison.before.values()) == sum(comparison.after.values()) == comparison.keys


def test_the_error_is_that_of_a_sample() -> None:
    comparison = Comparison(10_000, {})
    assert comparison.error(0.5) == pytest.approx(1.96 * 0.5 / 100)
    assert comparison.error(0.0) > 0
    assert comparison.error(0.1) == pytest.approx(comparison.error(0.9))
    assert Comparison(0, {}).error(0.0) == 1.0


def test_19_of_20_samples_are_within_the_error() -> None:
    rng = Random(3)
    sizes = [sum(rng.random() < 0.2 for _ in range(500)) for _ in range(400)]
    within = [abs(size / 500 - 0.2) <= Comparison(500, {}).error(size / 500) for size in sizes]
    assert 0.92 < sum(within) / len(within) < 0.98


# -- by weight --------------------------------------------------------------------------------


def test_shares_are_by_weight() -> None:
    assert weight_shares(make_pool(weighted(a=3, b=1, c=0))) == {"a": 0.75, "b": 0.25, "c": 0.0}


def test_whoever_gets_no_connections_has_no_share() -> None:
    backends = [*named("a", "b"), *weighted(c=2)]
    pool = make_pool(backends, modes={"b": Mode.DISABLED})
    assert weight_shares(pool) == {"a": 1 / 3, "b": 0.0, "c": 2 / 3}


def test_only_the_first_tier_that_is_usable_has_shares() -> None:
    backends = [*named("a"), *(replace(one, tier=1) for one in named("b", "c"))]
    pool = make_pool(backends)
    assert weight_shares(pool) == {"a": 1.0, "b": 0.0, "c": 0.0}
    pool.learn(Transition("a", Checked.DOWN, "is down"), now=0.0)
    assert weight_shares(pool) == {"a": 0.0, "b": 0.5, "c": 0.5}


def test_nobody_has_a_share_of_nothing() -> None:
    assert weight_shares(make_pool(weighted(a=0))) == {"a": 0.0}
    assert weight_shares(make_pool([])) == {}

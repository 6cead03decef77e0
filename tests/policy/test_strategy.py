from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.policy.backend import Backend
from tcplb.policy.least_connections import LeastConnections
from tcplb.policy.names import HashKey, StrategyName
from tcplb.policy.occupancy import LocalOccupancy
from tcplb.policy.ring import HashRing
from tcplb.policy.round_robin import RoundRobin
from tcplb.policy.strategy import Strategy, make_strategy
from tests.policy.backends import backend_lists, named, names, weighted

every_strategy = pytest.mark.parametrize("name", StrategyName)


def make(name: StrategyName, backends: list[Backend]) -> Strategy:
    return make_strategy(name, backends, LocalOccupancy(len(backends)))


def test_round_robin_is_made_from_its_name() -> None:
    assert isinstance(make_strategy(StrategyName.ROUND_ROBIN, named("a")), RoundRobin)


def test_a_ring_is_made_for_hash() -> None:
    assert isinstance(make_strategy(StrategyName.HASH, named("a")), HashRing)


def test_least_connections_is_made_with_the_counts_of_its_pool() -> None:
    occupancy = LocalOccupancy(2)
    strategy = make_strategy(StrategyName.LEAST_CONNECTIONS, named("a", "b"), occupancy)
    assert isinstance(strategy, LeastConnections)
    occupancy.try_enter(0, 0)
    assert names(strategy.order(b"")) == ["b", "a"]


def test_least_connections_without_any_counts_is_refused() -> None:
    with pytest.raises(TypeError, match="least-connections needs the occupancy"):
        make_strategy(StrategyName.LEAST_CONNECTIONS, named("a"))


def test_the_names_a_user_writes_are_these() -> None:
    assert [str(name) for name in StrategyName] == [
        "round-robin",
        "hash",
        "least-connections",
    ]
    assert [str(key) for key in HashKey] == ["auto", "client", "request"]


def test_only_hash_asks_for_a_key() -> None:
    assert make_strategy(StrategyName.HASH, []).keyed
    assert not make(StrategyName.ROUND_ROBIN, []).keyed
    assert not make(StrategyName.LEAST_CONNECTIONS, []).keyed


@every_strategy
@given(backends=backend_lists(), key=st.binary(max_size=16))
@settings(max_examples=50, deadline=None)
def test_order_yields_each_backend_of_positive_weight_once_and_ends(
    name: StrategyName, backends: list[Backend], key: bytes
) -> None:
    strategy = make(name, backends)
    usable = sorted(names(backend for backend in backends if backend.weight > 0))
    for _ in range(3):
        assert sorted(names(strategy.order(key))) == usable


@every_strategy
@pytest.mark.parametrize("backends", [[], weighted(a=0), weighted(a=0, b=0)], ids=str)
def test_without_a_usable_backend_the_order_is_empty(
    name: StrategyName, backends: list[Backend]
) -> None:
    strategy = make(name, backends)
    assert list(strategy.order(b"key")) == []
    assert strategy.shares() == {}


@every_strategy
@given(backends=backend_lists(min_size=1))
@settings(max_examples=30, deadline=None)
def test_shares_name_the_backends_of_positive_weight_and_sum_to_1(
    name: StrategyName, backends: list[Backend]
) -> None:
    shares = make(name, backends).shares()
    usable = [backend.name for backend in backends if backend.weight > 0]
    assert list(shares) == usable  # in the order of the config, as they are printed
    assert all(share > 0 for share in shares.values())
    assert sum(shares.values()) == pytest.approx(1 if usable else 0)

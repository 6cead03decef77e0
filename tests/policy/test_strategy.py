from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.policy.backend import Backend
from tcplb.policy.first import First
from tcplb.policy.least_connections import LeastConnections
from tcplb.policy.maglev import Maglev
from tcplb.policy.names import HashKey, StrategyName
from tcplb.policy.occupancy import LocalOccupancy
from tcplb.policy.peak_ewma import PeakEwma
from tcplb.policy.power_of_two import PowerOfTwo
from tcplb.policy.rendezvous import Rendezvous
from tcplb.policy.ring import POINTS_PER_WEIGHT, HashRing
from tcplb.policy.round_robin import RoundRobin
from tcplb.policy.weighted_random import WeightedRandom
from tests.policy.backends import backend_lists, load_of, make, maker, named, names, weighted

every_strategy = pytest.mark.parametrize("name", StrategyName)


KINDS = {
    StrategyName.ROUND_ROBIN: RoundRobin,
    StrategyName.LEAST_CONNECTIONS: LeastConnections,
    StrategyName.RANDOM: WeightedRandom,
    StrategyName.POWER_OF_TWO: PowerOfTwo,
    StrategyName.HASH: HashRing,
    StrategyName.MAGLEV: Maglev,
    StrategyName.RENDEZVOUS: Rendezvous,
    StrategyName.PEAK_EWMA: PeakEwma,
    StrategyName.FIRST: First,
}
KEYED = {StrategyName.HASH, StrategyName.MAGLEV, StrategyName.RENDEZVOUS}
BY_LOAD = {StrategyName.LEAST_CONNECTIONS, StrategyName.POWER_OF_TWO, StrategyName.PEAK_EWMA}


@every_strategy
def test_what_is_prepared_in_steps_is_what_would_be_made(name: StrategyName) -> None:
    backends = weighted(a=100, b=7, c=0, d=1)
    prepared = maker(name)
    steps = list(prepared.prepare(backends))
    made = prepared(backends, load_of(backends))
    takes_long = name in (StrategyName.HASH, StrategyName.MAGLEV)
    assert bool(steps) is takes_long
    assert (made is prepared(backends, load_of(backends))) is takes_long
    assert made is not prepared(backends[:2], load_of(backends[:2]))
    if takes_long:
        other = make(name, backends)
        for key in (b"%d" % number for number in range(200)):
            assert names(made.order(key)) == names(other.order(key))
        assert made.shares() == other.shares()


def test_no_step_of_a_large_ring_takes_long() -> None:
    backends = weighted(a=256, b=256)
    points = POINTS_PER_WEIGHT * 512
    # Once to place them, once to sort them.
    assert len(list(HashRing.in_steps(backends))) > 2 * points // 1000


@every_strategy
def test_each_is_made_from_its_name(name: StrategyName) -> None:
    strategy = make(name, named("a"))
    assert type(strategy) is KINDS[name]
    assert strategy.keyed == (name in KEYED)
    assert strategy.by_load == (name in BY_LOAD)


@pytest.mark.parametrize("name", sorted(BY_LOAD))
def test_those_that_go_by_load_go_by_the_counts_of_their_pool(name: StrategyName) -> None:
    occupancy = LocalOccupancy(2)
    strategy = make(name, named("a", "b"), occupancy)
    occupancy.try_enter(0, 0)
    assert names(strategy.order(b"")) == ["b", "a"]


def test_the_names_a_user_writes_are_these() -> None:
    assert [str(name) for name in StrategyName] == [
        "round-robin",
        "least-connections",
        "random",
        "power-of-two",
        "hash",
        "maglev",
        "rendezvous",
        "peak-ewma",
        "first",
    ]
    keys = ["auto", "client", "request", "first-line", "destination"]
    assert [str(key) for key in HashKey] == keys


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
    assert set(shares) == set(usable)
    assert all(share >= 0 for share in shares.values())
    assert sum(shares.values()) == pytest.approx(1 if usable else 0)

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.policy.backend import Backend
from tcplb.policy.load import Load
from tcplb.policy.occupancy import LocalOccupancy
from tcplb.policy.power_of_two import PowerOfTwo
from tests.policy.backends import backend_lists, named, names, weighted


class Table:
    """A strategy, and what it looks at."""

    def __init__(self, backends: list[Backend], seed: int = 1) -> None:
        self.occupancy = LocalOccupancy(len(backends))
        self.load = Load(backends, self.occupancy, range(len(backends)))
        self.strategy = PowerOfTwo(backends, self.load, Random(seed))
        self.positions = {backend.name: index for index, backend in enumerate(backends)}

    def enter(self, name: str, times: int = 1) -> None:
        for _ in range(times):
            self.occupancy.try_enter(self.positions[name], 0)

    def pick(self, rejected: str = "") -> str:
        return next(one.name for one in self.strategy.order() if one.name != rejected)

    def picks(self, count: int, rejected: str = "") -> Counter[str]:
        return Counter(self.pick(rejected) for _ in range(count))


@given(backend_lists(), st.integers(0, 1 << 32), st.lists(st.integers(0, 5), max_size=20))
@settings(max_examples=60, deadline=None)
def test_order_yields_each_backend_of_positive_weight_once_and_ends(
    backends: list[Backend], seed: int, entering: list[int]
) -> None:
    table = Table(backends, seed)
    expected = sorted(one.name for one in backends if one.weight > 0)
    for index in entering:
        if index < len(backends):
            table.enter(backends[index].name)
        assert sorted(names(table.strategy.order())) == expected
    assert set(table.strategy.shares()) == set(expected)
    assert sum(table.strategy.shares().values()) == pytest.approx(int(bool(expected)))


@pytest.mark.parametrize("size", [2, 3, 10, 100])
@pytest.mark.parametrize("weight", [1, 256])
def test_a_backend_that_stalls_gets_less_than_5_percent_from_then_on(
    size: int, weight: int
) -> None:
    table = Table([Backend("stalled", "h", 1, weight), *named(*map(str, range(size - 1)))])
    table.enter("stalled")
    counted: Counter[str] = Counter()
    for _ in range(2000):  # everybody else's connections end at once
        name = table.pick()
        counted[name] += 1
        if name == "stalled":
            table.enter(name)
    assert counted["stalled"] < 0.05 * 2000


def test_of_two_the_one_with_fewer_connections_for_its_weight_comes_first() -> None:
    table = Table(weighted(a=4, b=1))
    table.enter("a", 3)
    table.enter("b", 1)
    assert table.picks(50) == {"a": 50}
    table.enter("a", 2)
    assert table.picks(50) == {"b": 50}


def test_the_effective_weight_counts() -> None:
    table = Table(named("a", "b"))
    table.load.weights[0] = 0.1
    counted = table.picks(1100)
    assert counted["a"] == pytest.approx(100, abs=5)
    table.enter("a", 1)
    table.enter("b", 5)
    assert table.picks(20) == {"b": 20}  # 1 / 0.1 is more than 5 / 1


@pytest.mark.parametrize(
    "weights",
    [
        {"a": 1, "b": 1},
        {"a": 3, "b": 1},
        {"a": 5, "b": 1, "c": 1},
        {"a": 9, "b": 4, "c": 2, "d": 1},
    ],
)
def test_weights_hold_when_no_connection_lasts(weights: dict[str, int]) -> None:
    table = Table(weighted(**weights))
    counted = table.picks(4000)
    for name, share in table.strategy.shares().items():
        assert counted[name] / 4000 == pytest.approx(share, abs=0.02)


def test_lasting_connections_spread_by_weight() -> None:
    weights = {"a": 3, "b": 1, "c": 2}
    table = Table(weighted(**weights))
    for _ in range(600):
        table.enter(table.pick())
    for name, position in table.positions.items():
        assert table.occupancy.active(position) == pytest.approx(100 * weights[name], rel=0.1)


def test_the_fullest_of_100_is_nearer_to_the_mean_than_by_one_draw() -> None:
    table = Table(named(*map(str, range(100))))
    for _ in range(1000):
        table.enter(table.pick())
    assert max(count() for count in table.load.counts) <= 13  # one draw: about 18


def test_one_that_is_passed_by_has_no_start_counted() -> None:
    table = Table(named("a", "b", "c"))
    assert table.picks(100, rejected="a").keys() == {"b", "c"}
    assert table.strategy._starts[0] == 0


def test_when_nobody_suits_the_next_order_begins_with_another() -> None:
    table = Table(named("a", "b"))
    first = [names(table.strategy.order())[0] for _ in range(100)]
    assert Counter(first) == {"a": 50, "b": 50}


def test_old_starts_are_forgotten() -> None:
    table = Table(named("a", "b"))
    table.load.weights[1] = 1e-9
    assert table.picks(10_000)["b"] <= 20
    table.load.weights[1] = 1.0
    counted = table.picks(200)
    assert counted["a"] > 20  # a's 10,000 starts are not held against it

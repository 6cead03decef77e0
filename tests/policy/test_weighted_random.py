from __future__ import annotations

from collections import Counter
from itertools import cycle, permutations, product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.policy.backend import Backend
from tcplb.policy.weighted_random import Draws, WeightedRandom
from tests.policy.backends import backend_lists, named, names, weighted

SEEDS = st.integers(0, 1 << 32)


class Fixed(Random):
    """Draws the numbers given, over and over."""

    def __init__(self, *numbers: float) -> None:
        super().__init__(0)
        self._numbers = cycle(numbers)

    def random(self) -> float:
        return next(self._numbers)


@given(backend_lists(), SEEDS)
@settings(max_examples=60, deadline=None)
def test_order_yields_each_backend_of_positive_weight_once_and_ends(
    backends: list[Backend], seed: int
) -> None:
    strategy = WeightedRandom(backends, Random(seed))
    expected = sorted(one.name for one in backends if one.weight > 0)
    for _ in range(3):
        assert sorted(names(strategy.order())) == expected
    assert set(strategy.shares()) == set(expected)
    assert sum(strategy.shares().values()) == pytest.approx(int(bool(expected)))


def test_the_first_one_is_drawn_by_weight() -> None:
    strategy = WeightedRandom(weighted(a=5, b=0, c=1, d=4), Random(1))
    counted = Counter(next(strategy.order()).name for _ in range(10_000))
    assert set(counted) == {"a", "c", "d"}
    for name, share in strategy.shares().items():
        assert counted[name] / 10_000 == pytest.approx(share, abs=0.02)


def test_every_order_of_all_is_as_likely_as_by_draws_without_replacement() -> None:
    weights = {"a": 4, "b": 2, "c": 1}
    strategy = WeightedRandom(weighted(**weights), Random(2))
    counted = Counter("".join(names(strategy.order())) for _ in range(20_000))
    for one, two, three in permutations("abc"):
        expected = weights[one] / 7 * weights[two] / (weights[two] + weights[three])
        assert counted[one + two + three] / 20_000 == pytest.approx(expected, abs=0.015)


def test_orders_of_one_seed_are_alike() -> None:
    backends = named(*"abcdefgh")
    one, other = (WeightedRandom(backends, Random(7)) for _ in range(2))
    assert [names(one.order()) for _ in range(5)] == [names(other.order()) for _ in range(5)]


@given(st.lists(st.integers(0, 256), min_size=2).filter(lambda w: sum(map(bool, w)) > 1), SEEDS)
@settings(max_examples=100, deadline=None)
def test_two_draws_are_different_and_of_positive_weight(weights: list[int], seed: int) -> None:
    draws = Draws(weights, Random(seed))
    for _ in range(20):
        one, other = draws.two()
        assert one != other
        assert weights[one] > 0
        assert weights[other] > 0


@pytest.mark.parametrize("numbers", list(product([0.0, 0.3, 1 - 2**-53], repeat=2)), ids=str)
def test_the_smallest_and_the_largest_draw_are_of_positive_weight(
    numbers: tuple[float, float],
) -> None:
    weights = [0, 3, 0, 1, 255, 256, 0]
    assert weights[Draws(weights, Fixed(*numbers)).one()] > 0
    one, other = Draws(weights, Fixed(*numbers)).two()
    assert one != other
    assert weights[one] > 0
    assert weights[other] > 0


def test_the_second_draw_is_by_weight_among_the_rest() -> None:
    draws = Draws([4, 2, 1], Random(3))
    counted = Counter(draws.two() for _ in range(20_000))
    for (one, other), times in counted.items():
        weights = [4, 2, 1]
        expected = weights[one] / 7 * weights[other] / (7 - weights[one])
        assert times / 20_000 == pytest.approx(expected, abs=0.015)
    assert len(counted) == 6

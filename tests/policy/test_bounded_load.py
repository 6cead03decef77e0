from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.policy.bounded_load import slots

WEIGHTS = st.lists(st.integers(1, 256), min_size=1, max_size=12)
FACTORS = st.integers(101, 1000)


def all_slots(connections: int, factor: int, weights: list[int]) -> list[int]:
    before = accumulate(weights[:-1], initial=0)
    return [
        slots(connections, factor, weight, sum(weights), start)
        for weight, start in zip(weights, before, strict=True)
    ]


@pytest.mark.parametrize(
    ("connections", "factor", "weights", "expected"),
    [
        (4, 150, [1, 1], [3, 3]),
        (100, 125, [1, 1, 1, 1], [31, 31, 31, 32]),  # 125 in all
        (101, 125, [1, 1, 1, 1], [31, 32, 32, 32]),  # 126.25, rounded up
        (10, 150, [3, 1, 1], [9, 3, 3]),
        (1, 110, [1, 1, 1], [1, 1, 1]),  # never less than 1
        (5, 101, [1, 1, 1, 1], [1, 2, 1, 2]),
        (10, 200, [256, 1], [19, 1]),
    ],
)
def test_each_has_its_share_of_the_connections_and_some_more(
    connections: int, factor: int, weights: list[int], expected: list[int]
) -> None:
    assert all_slots(connections, factor, weights) == expected


def test_without_a_usable_backend_it_has_all_that_there_are() -> None:
    assert slots(10, 150, 1, 0, 0) == 15


@given(st.integers(1, 100_000), FACTORS, WEIGHTS)
def test_it_is_the_formula_of_haproxy(connections: int, factor: int, weights: list[int]) -> None:
    """Whole slots for each unit of weight, and the rest by the weights that come before."""
    all_together = (connections * factor + 99) // 100
    each, rest = divmod(all_together, sum(weights))
    expected, before = [], 0
    for weight in weights:
        more = (before + weight) * rest // sum(weights) - before * rest // sum(weights)
        expected.append(max(1, weight * each + more))
        before += weight
    assert all_slots(connections, factor, weights) == expected


@given(st.integers(1, 100_000), FACTORS, WEIGHTS)
def test_there_is_always_one_with_a_slot_left(
    connections: int, factor: int, weights: list[int]
) -> None:
    """`connections` counts the one to be placed, so the others cannot have taken all slots."""
    assert sum(all_slots(connections, factor, weights)) >= connections


@given(st.integers(1, 100_000), FACTORS, WEIGHTS)
def test_none_has_more_than_its_part_rounded_up(
    connections: int, factor: int, weights: list[int]
) -> None:
    for weight, bound in zip(weights, all_slots(connections, factor, weights), strict=True):
        exact = connections * factor / 100 * weight / sum(weights)
        assert exact - 1 - 1e-6 < bound < exact + 2


@given(st.integers(1, 1000), FACTORS, WEIGHTS)
def test_more_connections_or_a_larger_factor_take_no_more_than_one_slot_away(
    connections: int, factor: int, weights: list[int]
) -> None:
    now = all_slots(connections, factor, weights)
    for more in (
        all_slots(connections + 1, factor, weights),
        all_slots(connections, factor + 1, weights),
    ):
        assert sum(more) >= sum(now) - len(weights)
        assert all(after >= before - 1 for before, after in zip(now, more, strict=True))

"""Percentiles and summaries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats import Summary, percentile


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (50, 50), (99, 99), (99.9, 100), (100, 100)]
)
def test_percentiles_of_1_to_100(percent: float, expected: int) -> None:
    assert percentile(range(1, 101), percent) == expected


def test_percentiles_of_one_value() -> None:
    assert {percentile([7.0], percent) for percent in (0, 50, 99.9, 100)} == {7.0}


def test_no_value_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1), st.floats(0, 100))
def test_a_percentile_is_the_smallest_value_that_enough_do_not_exceed(
    values: list[float], percent: float
) -> None:
    ordered = sorted(values)
    found = percentile(ordered, percent)
    wanted = len(ordered) * percent / 100
    assert sum(value <= found for value in ordered) >= wanted
    smaller = [value for value in ordered if value < found]
    assert not smaller or sum(value <= smaller[-1] for value in ordered) < wanted


def test_a_summary_is_median_smallest_and_largest() -> None:
    assert Summary.of([3.0, 1.0, 2.0]) == Summary(median=2.0, low=1.0, high=3.0)
    assert Summary.of([1.0, 2.0]).median == 1.5


def test_a_ratio_divides_all_of_a_summary() -> None:
    assert Summary(2.0, 1.0, 4.0).over(2.0) == Summary(1.0, 0.5, 2.0)


@pytest.mark.parametrize("base", [0.0, -1.0])
def test_there_is_no_ratio_to_nothing(base: float) -> None:
    assert Summary(2.0, 1.0, 4.0).over(base) is None

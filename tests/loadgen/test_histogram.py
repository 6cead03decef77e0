from __future__ import annotations

import json
import math
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tcplb.loadgen.histogram import BUCKETS, LARGEST, RELATIVE_ERROR, SUB_BUCKETS, Histogram

POWERS = tuple(1 << power for power in range(LARGEST.bit_length() + 3))
PERCENTS = (0, 0.1, 50, 90, 99, 99.9, 99.99, 100)

values = st.one_of(
    st.integers(0, 300),
    st.integers(0, LARGEST + 1000),
    st.integers(LARGEST, 1 << 70),
    # The edges of cells, where a step too far shows.
    st.builds(lambda power, off: max(power + off, 0), st.sampled_from(POWERS), st.integers(-2, 2)),
)
lists = st.lists(values, max_size=60)
quick = settings(max_examples=60, deadline=None)


def histogram_of(recorded: list[int]) -> Histogram:
    histogram = Histogram()
    for value in recorded:
        histogram.record(value)
    return histogram


def nearest_rank(recorded: list[int], percent: float) -> int:
    """Return the percentile by its definition, with what is too large clamped."""
    rank = max(math.ceil(len(recorded) * Decimal(str(percent)) / 100), 1)
    return min(sorted(recorded)[rank - 1], LARGEST)


# -- percentiles ------------------------------------------------------------------------------


@given(st.lists(values, min_size=1, max_size=200), st.sampled_from(PERCENTS))
@example([0], 50)
@example([LARGEST], 100)
@example([LARGEST + 1], 100)
@quick
def test_a_percentile_is_that_of_the_sorted_values(recorded: list[int], percent: float) -> None:
    exact = nearest_rank(recorded, percent)
    measured = histogram_of(recorded).percentile(percent)
    assert measured is not None
    assert abs(measured - exact) <= exact * RELATIVE_ERROR


@given(st.integers(0, LARGEST))
@quick
def test_any_value_is_reported_within_one_percent(value: int) -> None:
    assert 100 * RELATIVE_ERROR <= 1
    measured = histogram_of([value]).percentile(50)
    assert measured is not None
    assert abs(measured - value) <= value / 100


@pytest.mark.parametrize("count", [1, 10, 1000, 41_000])
def test_the_rank_is_exact_though_99_9_is_not_a_float(count: int) -> None:
    # Exactly 99.9 % of the values are 1, if the count can be cut so at all, and the rest are 2.
    rank = math.ceil(count * Decimal("99.9") / 100)
    histogram = histogram_of([1] * rank + [2] * (count - rank))
    assert histogram.percentile(99.9) == 1


@given(st.lists(values, min_size=1))
@quick
def test_percentiles_ascend_to_the_largest(recorded: list[int]) -> None:
    histogram = histogram_of(recorded)
    percentiles = [histogram.percentile(percent) or 0.0 for percent in PERCENTS]
    assert percentiles == sorted(percentiles)
    assert histogram.largest == percentiles[-1]


@given(st.lists(st.integers(0, LARGEST), min_size=1))
@quick
def test_the_mean_is_the_mean_within_the_error(recorded: list[int]) -> None:
    mean = histogram_of(recorded).mean
    assert mean == pytest.approx(sum(recorded) / len(recorded), rel=RELATIVE_ERROR, abs=0)


def test_what_is_too_large_counts_as_the_largest() -> None:
    assert histogram_of([1 << 60]) == histogram_of([LARGEST])


# -- cells ------------------------------------------------------------------------------------


@given(values)
@quick
def test_a_value_falls_into_the_one_cell_that_holds_it(value: int) -> None:
    (cell,) = histogram_of([value])
    assert cell.lower <= min(value, LARGEST) <= cell.upper
    assert cell.count == 1
    # Its edges fall into it as well, so what `record` does is what the cell says.
    assert [edge.count for edge in histogram_of([cell.lower, cell.upper, value])] == [3]


def test_cells_ascend_and_cover_the_whole_range_without_gap_or_overlap() -> None:
    value, every = 0, []
    while value <= LARGEST:
        every.append(value)
        value += max(value >> 8, 1)  # half the width of a cell, at most
    cells = list(histogram_of([*every, LARGEST]))
    assert (cells[0].lower, cells[-1].upper) == (0, LARGEST)
    assert all(cell.upper + 1 == after.lower for cell, after in pairwise(cells))
    assert all(cell.upper - cell.lower <= cell.lower * 2 * RELATIVE_ERROR for cell in cells)
    assert len(cells) == SUB_BUCKETS + (BUCKETS - 1) * SUB_BUCKETS // 2


@given(lists)
@quick
def test_cells_hold_every_value_once(recorded: list[int]) -> None:
    histogram = histogram_of(recorded)
    cells = list(histogram)
    assert histogram.count == sum(cell.count for cell in cells) == len(recorded)
    assert [cell.lower for cell in cells] == sorted({cell.lower for cell in cells})
    assert all(cell.count for cell in cells)


# -- merging, and travelling --------------------------------------------------------------------


@given(lists, lists)
@quick
def test_to_merge_is_to_record_everything_in_one(one: list[int], other: list[int]) -> None:
    merged, second = histogram_of(one), histogram_of(other)
    merged.merge(second)
    assert merged == histogram_of(one + other)
    assert second == histogram_of(other)


@given(lists)
@quick
def test_what_was_written_as_json_is_read_again(recorded: list[int]) -> None:
    histogram = histogram_of(recorded)
    assert Histogram.from_json(json.loads(json.dumps(histogram.to_json()))) == histogram


@given(lists, lists)
@quick
def test_what_was_cleared_is_as_new(before: list[int], after: list[int]) -> None:
    histogram = histogram_of(before)
    histogram.clear()
    assert histogram == Histogram()
    for value in after:
        histogram.record(value)
    assert histogram == histogram_of(after)


def test_without_values_there_is_nothing_to_report() -> None:
    empty = Histogram()
    assert empty.count == 0
    assert [empty.percentile(percent) for percent in PERCENTS] == [None] * len(PERCENTS)
    assert (empty.mean, empty.largest, list(empty), empty.to_json()) == (None, None, [], {})


def test_histograms_are_equal_if_they_counted_the_same() -> None:
    assert histogram_of([1, 500]) == histogram_of([500, 1])
    assert histogram_of([1]) != histogram_of([1, 1])
    assert histogram_of([]) != object()

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.loadgen.histogram import LARGEST, Histogram
from tcplb.loadgen.reports.hgrm import to_hgrm

HEADER = "       Value     Percentile TotalCount 1/(1-Percentile)"
values = st.lists(st.integers(0, LARGEST), min_size=1, max_size=200)
quick = settings(max_examples=60, deadline=None)


class Row(NamedTuple):
    value: float
    percentile: float
    seen: int
    inverse: float


def histogram_of(recorded: list[int]) -> Histogram:
    histogram = Histogram()
    for value in recorded:
        histogram.record(value)
    return histogram


def rows_of(recorded: list[int]) -> list[Row]:
    """Read the rows as the plotter does: four columns, but for the last."""
    lines = to_hgrm(histogram_of(recorded)).splitlines()
    assert lines[:2] == [HEADER, ""]
    rows = [line.split() for line in lines[2:] if not line.startswith("#")]
    assert [len(row) for row in rows] == [4] * (len(rows) - 1) + [3]
    return [Row(float(row[0]), float(row[1]), int(row[2]), float([*row, "inf"][3])) for row in rows]


PUBLISHED = [
    (0.0, 1, 1.00),
    (0.1, 47530, 1.11),
    (0.2, 95042, 1.25),
    (0.3, 142539, 1.43),
    (0.4, 190154, 1.67),
    (0.5, 237581, 2.00),
    (0.55, 261367, 2.22),
    (0.6, 285105, 2.50),
    (0.65, 308930, 2.86),
    (0.7, 332844, 3.33),
    (0.75, 356366, 4.00),
    (0.775, 368356, 4.44),
    (0.8, 380158, 5.00),
    (0.825, 391991, 5.71),
    (0.85, 403848, 6.67),
    (0.875, 415744, 8.00),
    (0.8875, 421673, 8.89),
    (0.9, 427627, 10.00),
]
"""The first rows of GoogleChartsExample/example1.txt in HdrHistogram's repository, no values."""
PUBLISHED_COUNT = 475_109


def test_the_rows_are_those_of_hdrhistogram() -> None:
    counts = [0, *(seen for _, seen, _ in PUBLISHED), PUBLISHED_COUNT]
    # Each row's values get a cell of their own.
    recorded = [
        value for value, (before, seen) in enumerate(pairwise(counts)) for _ in range(seen - before)
    ]
    rows = rows_of(recorded)[: len(PUBLISHED)]
    assert [(row.percentile, row.seen, row.inverse) for row in rows] == PUBLISHED
    assert [row.value for row in rows] == [value / 1e6 for value in range(len(PUBLISHED))]


def test_a_single_value_as_a_whole() -> None:
    assert to_hgrm(histogram_of([250])) == (
        f"{HEADER}\n\n"
        "    0.000250 0.000000000000          1           1.00\n"
        "    0.000250 1.000000000000          1\n"
        "#[Mean    =     0.000250, StdDeviation   =     0.000000]\n"
        "#[Max     =     0.000250, Total count    =            1]\n"
        "#[Buckets =           35, SubBuckets     =          256]\n"
    )


def test_without_values_there_is_a_header_and_a_footer() -> None:
    lines = to_hgrm(Histogram()).splitlines()
    assert lines[:2] == [HEADER, ""]
    assert [line[:8] for line in lines[2:]] == ["#[Mean  ", "#[Max   ", "#[Bucket"]
    assert "Total count    =            0]" in lines[3]


@given(values)
@quick
def test_percentiles_ascend_from_0_to_100(recorded: list[int]) -> None:
    percentiles = [row.percentile for row in rows_of(recorded)]
    assert percentiles[0] == 0
    assert percentiles[-1] == 1
    assert all(one < other for one, other in pairwise(percentiles))


@given(values)
@quick
def test_values_and_counts_ascend_to_the_largest_and_to_all(recorded: list[int]) -> None:
    rows = rows_of(recorded)
    assert all(one.value <= other.value for one, other in pairwise(rows))
    assert all(one.seen <= other.seen for one, other in pairwise(rows))
    assert rows[-1].seen == len(recorded)
    largest = histogram_of(recorded).largest
    assert largest is not None
    assert rows[-1].value == pytest.approx(largest / 1e6, abs=1e-6)


@given(values)
@quick
def test_a_row_says_what_the_histogram_says(recorded: list[int]) -> None:
    histogram = histogram_of(recorded)
    for row in rows_of(recorded):
        measured = histogram.percentile(float(f"{row.percentile * 100:.9f}"))
        assert measured is not None
        assert row.value == pytest.approx(measured / 1e6, abs=1e-6)
        assert row.seen >= row.percentile * len(recorded) * (1 - 1e-9)
        if row.percentile < 1:
            assert row.inverse == pytest.approx(1 / (1 - row.percentile), abs=0.01, rel=1e-6)


@given(values)
@quick
def test_five_ticks_to_every_half_of_the_way_that_is_left(recorded: list[int]) -> None:
    *ticks, _ = [row.percentile for row in rows_of(recorded)]
    for place, tick in enumerate(ticks):
        halvings, part = divmod(place, 5)
        assert tick == pytest.approx(1 - 0.5**halvings * (1 - part / 10), abs=1e-11)


@given(values)
@quick
def test_the_footer_sums_up(recorded: list[int]) -> None:
    histogram = histogram_of(recorded)
    first, second, _ = to_hgrm(histogram).splitlines()[-3:]
    mean, deviation = (float(part.rstrip("]").split("=")[1]) for part in first.split(","))
    largest, count = (float(part.rstrip("]").split("=")[1]) for part in second.split(","))
    middles = [cell.middle / 1e6 for cell in histogram for _ in range(cell.count)]
    exact = sum(middles) / len(middles)
    assert mean == pytest.approx(exact, abs=1e-6)
    variance = sum((middle - exact) ** 2 for middle in middles) / len(middles)
    assert deviation == pytest.approx(variance**0.5, abs=1e-6)
    assert largest == pytest.approx(max(middles), abs=1e-6)
    assert count == len(recorded)

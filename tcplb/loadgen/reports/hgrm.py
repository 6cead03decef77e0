"""Times as HdrHistogram's percentile distribution (.hgrm), which its plotter and others read.

The rows and columns are those of `outputPercentileDistribution` of HdrHistogram's Java version.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from tcplb.loadgen.histogram import BUCKETS, SUB_BUCKETS, Cell, Histogram

TICKS_PER_HALF_DISTANCE = 5
"""Rows on the way from any percentile half-way to 100, and from there half-way again, and so on."""

_MS = 1e6
"""Nanoseconds in what is written."""


def to_hgrm(histogram: Histogram) -> str:
    """Return the distribution as text, in milliseconds.

    A value is the middle of its cell, as everywhere in a report (HdrHistogram has the upper edge).
    Without values there is no row, and all figures are 0.
    """
    lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
    lines += [_row(cell, percentile, seen) for cell, percentile, seen in _levels(histogram)]
    lines += _footer(histogram)
    return "\n".join(lines) + "\n"


def _levels(histogram: Histogram) -> Iterator[tuple[Cell, float, int]]:
    """Yield a cell, the percentile that it reaches, and how many values it and those below have.

    As `PercentileIterator` does: the last cell has one level of the ticks, and then 100.
    """
    count = histogram.count
    level, seen = 0.0, 0
    for cell in histogram:
        seen += cell.count
        while seen < count and 100 * seen / count >= level:
            yield cell, level, seen
            level += _step(level)
        if seen == count:
            yield cell, level, seen
            yield cell, 100.0, seen


def _step(level: float) -> float:
    """Return what is added to a level: a tick of the half distance to 100 that it is in."""
    halvings = int(math.log2(100 / (100 - level))) + 1
    return 100 / (TICKS_PER_HALF_DISTANCE * (1 << halvings))


def _row(cell: Cell, percentile: float, seen: int) -> str:
    row = f"{cell.middle / _MS:12.6f} {percentile / 100:2.12f} {seen:10d}"
    # The last row has no fourth column: it would be infinite.
    return row if percentile == 100 else f"{row} {1 / (1 - percentile / 100):14.2f}"


def _footer(histogram: Histogram) -> list[str]:
    mean, largest = histogram.mean or 0.0, histogram.largest or 0.0
    deviation = _deviation(histogram, mean)
    return [
        f"#[Mean    = {mean / _MS:12.6f}, StdDeviation   = {deviation / _MS:12.6f}]",
        f"#[Max     = {largest / _MS:12.6f}, Total count    = {histogram.count:12d}]",
        f"#[Buckets = {BUCKETS:12d}, SubBuckets     = {SUB_BUCKETS:12d}]",
    ]


def _deviation(histogram: Histogram, mean: float) -> float:
    squares = sum(cell.count * (cell.middle - mean) ** 2 for cell in histogram)
    return math.sqrt(squares / max(histogram.count, 1))

"""A log-linear histogram of times, after HdrHistogram: a power of two is cut into equal cells.

With 128 cells to a power of two, a cell is at most 1/128 of its lower edge wide. A value is
reported as the middle of its cell, so it is off by less than 1/256: 0.4 %. Histograms are merged by
adding cells, which loses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

_BITS = 7
_CELLS_PER_POWER = 1 << _BITS
SUB_BUCKETS = 2 * _CELLS_PER_POWER
"""Values below this have a cell each. (The name is HdrHistogram's, as that of BUCKETS.)"""
LARGEST = (1 << 42) - 1
"""Nanoseconds (73 minutes); what is larger counts as this."""
BUCKETS = LARGEST.bit_length() - _BITS
"""The values below SUB_BUCKETS, and every power of two from there to LARGEST."""

RELATIVE_ERROR = 1 / SUB_BUCKETS
"""How far a reported value may be from the recorded one, at most, as a share of it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell that is not empty."""

    lower: int
    """Nanoseconds; the lowest value that it holds."""
    upper: int
    """Nanoseconds; the highest value that it holds."""
    count: int

    @property
    def middle(self) -> float:
        """Nanoseconds; what its values are reported as."""
        return (self.lower + self.upper) / 2


def _index(value: int) -> int:
    """Return the cell of a value; SUB_BUCKETS have their own, then 128 to a power of two."""
    shift = value.bit_length() - _BITS - 1
    return value if shift <= 0 else (shift << _BITS) + (value >> shift)


_SIZE = _index(LARGEST) + 1


@dataclass(slots=True, repr=False)
class Histogram:
    """Counts of times in nanoseconds. Two are equal if they have counted the same."""

    cells: list[int] = field(default_factory=lambda: [0] * _SIZE, init=False)

    def record(self, value: int) -> None:
        """Count one value (nanoseconds, not negative)."""
        # `_index`, written out: this is done for every request.
        shift = value.bit_length() - 8
        if shift <= 0:
            self.cells[value] += 1
        elif value <= LARGEST:
            self.cells[(shift << 7) + (value >> shift)] += 1
        else:
            self.cells[-1] += 1

    def merge(self, other: Histogram) -> None:
        """Add the counts of `other` to this."""
        for index, count in enumerate(other.cells):
            if count:
                self.cells[index] += count

    def clear(self) -> None:
        """Forget all."""
        self.cells[:] = [0] * _SIZE

    @property
    def count(self) -> int:
        """Values recorded."""
        return sum(self.cells)

    @property
    def mean(self) -> float | None:
        """Nanoseconds; None without values."""
        count = self.count
        return sum(cell.middle * cell.count for cell in self) / count if count else None

    @property
    def largest(self) -> float | None:
        """Nanoseconds; None without values."""
        return self.percentile(100)

    def percentile(self, percent: float) -> float | None:
        """Return the nearest-rank percentile (0 to 100) in nanoseconds; None without values.

        It stands for the smallest value that at least `percent` % of all values do not exceed.
        """
        # In floats, 99.9 % of 41,000 is a hair above 40,959, and would be rounded up to 40,960.
        rank = max(math.ceil(self.count * Fraction(str(percent)) / 100), 1)
        seen = 0
        for cell in self:
            seen += cell.count
            if seen >= rank:
                return cell.middle
        return None

    def __iter__(self) -> Iterator[Cell]:
        """The cells that are not empty, in ascending order."""
        for index, count in enumerate(self.cells):
            if count:
                yield Cell(*_edges(index), count)

    def to_json(self) -> dict[str, int]:
        """Return the cells that are not empty, by number."""
        return {str(index): count for index, count in enumerate(self.cells) if count}

    @staticmethod
    def from_json(cells: Mapping[str, int]) -> Histogram:
        """Return the histogram that `to_json` wrote."""
        histogram = Histogram()
        for index, count in cells.items():
            histogram.cells[int(index)] = count
        return histogram


def _edges(index: int) -> tuple[int, int]:
    if index < SUB_BUCKETS:
        return index, index
    shift = (index >> _BITS) - 1
    lower = (index - (shift << _BITS)) << shift
    return lower, lower + (1 << shift) - 1

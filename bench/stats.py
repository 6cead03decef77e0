"""Percentiles, and a median with the smallest and the largest value."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of values that are in ascending order.

    It is always one of the values: the smallest that at least `percent` % of them do not exceed.
    Raises ValueError if there are none.
    """
    if not ordered:
        raise ValueError("no values")
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[max(rank, 1) - 1]


@dataclass(frozen=True)
class Summary:
    """What is kept of one measure of one candidate over the rounds."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(samples: Sequence[float]) -> Summary:
        """Sum up at least one sample."""
        return Summary(statistics.median(samples), min(samples), max(samples))

    def over(self, base: float) -> Summary | None:
        """Return this as a ratio to `base`; None if there is nothing to divide by."""
        if base <= 0:
            return None
        return Summary(self.median / base, self.low / base, self.high / base)

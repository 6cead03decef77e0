"""Metrics as Prometheus reads them: text, one line a sample.

Source: "Exposition formats", version 0.0.4, of the Prometheus documentation. prometheus-client
writes it as well, but sorts and escapes the labels of each sample anew: 200 backends have 9,500
lines, for which it takes 65 to 95 ms. This takes 17 ms, adding up what the workers count included,
and all that time the supervisor does nothing else. `python -m tests.control.metrics_cost` measures
both; the tests read what is written here by prometheus-client's parser.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import inf
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def labels(**values: str) -> str:
    """Return labels as they stand between the braces of a sample."""
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in values.items())


class Family:
    """A metric: its name, what it is, and its samples."""

    def __init__(self, name: str, kind: Kind, meaning: str) -> None:
        """Begin without samples; `meaning` is plain text, in one line."""
        self.name = name
        self.kind = kind
        self.meaning = meaning
        self._lines: list[str] = []

    def add(self, value: float, labelled: str = "") -> None:
        """Add a sample with these `labels`, which no other one of this metric has."""
        name = f"{self.name}{{{labelled}}}" if labelled else self.name
        self._lines.append(f"{name} {'+Inf' if value == inf else value}\n")

    def add_histogram(
        self, bounds: Sequence[float], counts: Sequence[int], total: float, labelled: str
    ) -> None:
        """Add the samples of a histogram.

        `counts` has how many were in each bucket: more than the bound before it, and `bounds` at
        most; and in a last one, how many were more than all bounds. `total` is the sum of all.
        """
        name = self.name
        buckets = tuple(zip((*bounds, "+Inf"), accumulate(counts), strict=True))
        self._lines += [
            f'{name}_bucket{{{labelled},le="{bound}"}} {count}\n' for bound, count in buckets
        ]
        # Not a counter of its own: the workers go on counting while their cells are read.
        self._lines.append(f"{name}_count{{{labelled}}} {buckets[-1][1]}\n")
        self._lines.append(f"{name}_sum{{{labelled}}} {total}\n")

    def text(self) -> str:
        """Return its lines; "" for a metric without samples."""
        if not self._lines:
            return ""
        head = f"# HELP {self.name} {self.meaning}\n# TYPE {self.name} {self.kind}\n"
        return head + "".join(self._lines)

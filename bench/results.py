"""What was measured: samples by scenario, candidate and measure, and their ratios to HAProxy."""

from __future__ import annotations

from dataclasses import dataclass

from bench.stats import Summary

BASES = ("haproxy", "haproxy-splice")
"""HAProxy's two settings. All ratios are to the better one of them, measure by measure."""


@dataclass(frozen=True)
class Measure:
    """One column of a scenario."""

    key: str
    title: str
    unit: str
    compared: bool = False
    """Smaller is better, and it is shown as a ratio too."""


@dataclass(frozen=True)
class Skipped:
    """Something that was not measured, or not to the end."""

    scenario: str
    what: str
    reason: str


class Results:
    """Grows while the comparison runs."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, str, str], list[float]] = {}
        self.skipped: list[Skipped] = []

    def add(self, scenario: str, candidate: str, figures: dict[str, float]) -> None:
        """Add one slice's figures, by the measure's key."""
        for key, value in figures.items():
            self._samples.setdefault((scenario, candidate, key), []).append(value)

    def skip(self, scenario: str, what: str, reason: str) -> None:
        """Note that `what` was not measured."""
        self.skipped.append(Skipped(scenario, what, reason))

    def samples(self, scenario: str, candidate: str, key: str) -> list[float]:
        """Return the values in the order of the rounds; none if it was not measured."""
        return self._samples.get((scenario, candidate, key), [])

    def candidates(self, scenario: str) -> list[str]:
        """Return who was measured in `scenario`, in the order of first appearance."""
        return list(dict.fromkeys(name for of, name, _ in self._samples if of == scenario))

    def summary(self, scenario: str, candidate: str, key: str) -> Summary | None:
        """Return median, smallest and largest; None if it was not measured."""
        samples = self.samples(scenario, candidate, key)
        return Summary.of(samples) if samples else None

    def base(self, scenario: str, key: str) -> tuple[str, float] | None:
        """Return HAProxy's better setting for this measure, and its median."""
        medians = {
            name: summary.median for name in BASES if (summary := self.summary(scenario, name, key))
        }
        if not medians:
            return None
        best = min(medians, key=medians.__getitem__)
        return best, medians[best]

    def ratio(self, scenario: str, candidate: str, key: str) -> Summary | None:
        """Return the summary as a ratio to `base`; None if either is missing."""
        summary, base = self.summary(scenario, candidate, key), self.base(scenario, key)
        return summary.over(base[1]) if summary and base else None

"""What tcplb is to reach, as ratios to the better of HAProxy's two settings in the same run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.results import Results

Verdict = Literal["met aim", "met must", "missed", "not measured"]


@dataclass(frozen=True)
class Target:
    """One figure to reach. Smaller is better."""

    title: str
    scenario: str
    measure: str
    must: float
    aim: float | None
    candidate: str = "tcplb-splice"

    def verdict(self, ratio: float | None) -> Verdict:
        """Judge a median ratio; None is one that was not measured."""
        if ratio is None:
            return "not measured"
        if self.aim is not None and ratio <= self.aim:
            return "met aim"
        return "met must" if ratio <= self.must else "missed"


TARGETS = (
    Target("CPU per connection, access log on", "connect", "cpu", 1.40, 1.15),
    Target(
        "CPU per connection, access log off", "connect", "cpu", 1.30, 1.05, "tcplb-splice-nolog"
    ),
    Target("CPU per request on a kept connection", "request", "cpu", 1.25, 1.05),
    Target("CPU per GB, bulk", "bulk", "cpu", 1.15, 0.85),
    Target("memory per idle pair", "idle", "memory", 1.0, 0.4),
    Target("p99 of small requests at 50 % of HAProxy's highest rate", "latency", "p99", 1.5, 1.1),
    Target("p99 of small requests beside bulk", "beside-bulk", "p99", 1.5, None),
)


@dataclass(frozen=True)
class Judged:
    """A target and what was measured for it."""

    target: Target
    ratio: float | None
    verdict: Verdict


def judge(results: Results) -> list[Judged]:
    """Return all targets with what came out."""
    judged = []
    for target in TARGETS:
        summary = results.ratio(target.scenario, target.candidate, target.measure)
        ratio = summary.median if summary else None
        judged.append(Judged(target, ratio, target.verdict(ratio)))
    return judged

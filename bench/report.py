"""The report as a document: what JSON holds, and what the table and the picture are made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from bench.candidates import ORDER
from bench.results import Measure, Results, Skipped
from bench.scenarios import PICK, SCENARIOS, WORKERS, Scenario
from bench.settings import Settings
from bench.stats import Summary
from bench.targets import Judged, judge

ALL_SCENARIOS = (*SCENARIOS, PICK, WORKERS)


@dataclass(frozen=True)
class Row:
    """One candidate's measure in one scenario, over the rounds."""

    scenario: str
    candidate: str
    measure: Measure
    samples: list[float]
    summary: Summary
    ratio: Summary | None
    """To the better of HAProxy's settings; None if it is not compared."""


@dataclass(frozen=True)
class Report:
    """All of one run."""

    machine: dict[str, str]
    versions: dict[str, str]
    """By candidate."""
    settings: Settings
    rows: list[Row]
    bases: dict[tuple[str, str], str]
    """Which of HAProxy's settings was the better one, by scenario and measure."""
    targets: list[Judged]
    skipped: list[Skipped] = field(default_factory=list)

    def row(self, scenario: str, candidate: str, key: str) -> Row | None:
        """Return one row, if it was measured."""
        for row in self.rows:
            if (row.scenario, row.candidate, row.measure.key) == (scenario, candidate, key):
                return row
        return None

    def candidates(self, scenario: str) -> list[str]:
        """Return who was measured in a scenario."""
        return list(dict.fromkeys(row.candidate for row in self.rows if row.scenario == scenario))

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` writes."""
        return {
            "machine": self.machine,
            "versions": self.versions,
            "settings": asdict(self.settings),
            "results": [_row_to_json(row, self.bases) for row in self.rows],
            "targets": [_target_to_json(judged) for judged in self.targets],
            "skipped": [asdict(skipped) for skipped in self.skipped],
        }


def make_report(
    results: Results, settings: Settings, machine: dict[str, str], versions: dict[str, str]
) -> Report:
    """Sum up what was measured."""
    return Report(
        machine=machine,
        versions=versions,
        settings=settings,
        rows=[row for scenario in ALL_SCENARIOS for row in _rows(scenario, results)],
        bases={
            (scenario.name, measure.key): base[0]
            for scenario in ALL_SCENARIOS
            for measure in scenario.measures
            if measure.compared and (base := results.base(scenario.name, measure.key))
        },
        targets=judge(results),
        skipped=results.skipped,
    )


def _place(candidate: str) -> int:
    return ORDER.index(candidate) if candidate in ORDER else len(ORDER)


def _rows(scenario: Scenario, results: Results) -> list[Row]:
    rows = []
    for candidate in sorted(results.candidates(scenario.name), key=_place):
        for measure in scenario.measures:
            samples = results.samples(scenario.name, candidate, measure.key)
            if samples:
                compared = results.ratio(scenario.name, candidate, measure.key)
                ratio = compared if measure.compared else None
                summary = Summary.of(samples)
                rows.append(Row(scenario.name, candidate, measure, samples, summary, ratio))
    return rows


def _row_to_json(row: Row, bases: dict[tuple[str, str], str]) -> dict[str, Any]:
    return {
        "scenario": row.scenario,
        "candidate": row.candidate,
        "measure": row.measure.key,
        "unit": row.measure.unit,
        "samples": row.samples,
        **asdict(row.summary),
        "ratio": asdict(row.ratio) if row.ratio else None,
        "ratio_to": bases.get((row.scenario, row.measure.key)) if row.ratio else None,
    }


def _target_to_json(judged: Judged) -> dict[str, Any]:
    return {**asdict(judged.target), "ratio": judged.ratio, "verdict": judged.verdict}

"""What `tcplb bench` prints and writes, and the exit code that follows from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tcplb.cli.exits import Exit
from tcplb.loadgen.histogram import Histogram
from tcplb.loadgen.reports import comparison, table, text
from tcplb.loadgen.reports.comparison import Comparison
from tcplb.loadgen.reports.expect import Expectation
from tcplb.loadgen.reports.hgrm import to_hgrm
from tcplb.loadgen.reports.metrics import metrics
from tcplb.loadgen.reports.page import to_html
from tcplb.loadgen.reports.report import to_report, to_reports
from tcplb.loadgen.result import RunResult


@dataclass(frozen=True, slots=True)
class Output:
    """What the user wants to see."""

    form: str
    """``text``, ``json``, ``csv`` or ``hgrm``."""
    html: Path | None
    expectations: Sequence[Expectation]

    def of_runs(self, results: Sequence[RunResult], *, several: bool) -> Exit:
        """Show some runs, as a set of `several` or as the single one that they are."""
        reports = [to_report(result) for result in results]
        match self.form:
            case "json":
                self._print_json(to_reports(results) if several else reports[0])
            case "csv":
                click.echo(table.to_csv(reports), nl=False)
            case "hgrm":
                click.echo(to_hgrm(_latencies(results)), nl=False)
            case _:
                click.echo("\n".join(text.to_text(report) for report in reports), nl=False)
        self._write_html(reports)
        return self._verdict(results)

    def of_comparison(self, rounds: Sequence[Sequence[RunResult]]) -> Exit:
        """Show a comparison."""
        report = comparison.to_report(Comparison(rounds))
        match self.form:
            case "json":
                self._print_json(report)
            case "csv":
                click.echo(comparison.to_csv(report), nl=False)
            case _:
                click.echo(comparison.to_text(report), nl=False)
        self._write_html(report["runs"], report)
        return self._verdict([result for each in rounds for result in each])

    def _print_json(self, report: dict[str, Any]) -> None:
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))

    def _write_html(
        self, reports: Sequence[dict[str, Any]], compared: dict[str, Any] | None = None
    ) -> None:
        if self.html is not None:
            self.html.write_text(to_html(reports, compared), encoding="utf-8")

    def _verdict(self, results: Sequence[RunResult]) -> Exit:
        """Say which expectations were met; return the exit code."""
        verdicts = [
            (f"{result.name}: " if len(results) > 1 else "", expectation.check(metrics(result)))
            for result in results
            for expectation in self.expectations
        ]
        for name, verdict in verdicts:
            # Beside a report for programs, the words for people go elsewhere.
            click.echo(f"{name}{verdict.text}", err=self.form != "text")
        if not all(verdict.met for _, verdict in verdicts):
            return Exit.GATE_MISSED
        if any(_failed_all(result) for result in results):
            return Exit.FAILURE
        return Exit.OK


def _failed_all(result: RunResult) -> bool:
    if result.total.requests or not result.total.errors:
        return False
    (cause, _), *_ = result.total.failures.most_common(1)
    name = result.name or result.job.target.text
    click.echo(f"tcplb: {name}: nothing succeeded: {cause}", err=True)
    return True


def _latencies(results: Sequence[RunResult]) -> Histogram:
    merged = Histogram()
    for result in results:
        merged.merge(result.total.latency)
    return merged

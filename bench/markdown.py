"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.report import ALL_SCENARIOS, Report, Row
from bench.scenarios import Scenario
from bench.stats import Summary
from bench.targets import Judged

_NOTES = {
    "idle": "Proportional set size of the process tree: user space only, the kernel's buffers are "
    "not in it. Go holds two pipes for a pair, so it gets as many pairs as the limit of open files "
    "allows, if that is less.",
    "workers": "Nothing is pinned but the load and the backends: with two cores, the second worker "
    "shares its core with them. Rates show that as much as they show the workers.",
    "pick": "Without sockets. The strategies stand in for candidates.",
}


def to_markdown(report: Report) -> str:
    """Return the whole report."""
    blocks = [*_machine(report)]
    for scenario in ALL_SCENARIOS:
        blocks += _scenario(scenario, report)
    blocks += _targets(report.targets)
    blocks += _skipped(report)
    return "\n\n".join(blocks) + "\n"


def _machine(report: Report) -> Iterator[str]:
    yield "# tcplb against other balancers"
    yield "\n".join(f"- {name}: {value}" for name, value in report.machine.items())
    settings = report.settings
    yield (
        f"{settings.rounds} rounds of {settings.seconds:g} s, interleaved. Each cell is the median "
        "(smallest – largest). CPU is that of the balancer's whole process tree. A ratio is to the "
        "median of the better one of `haproxy` and `haproxy-splice` in the same table."
    )
    if report.versions:
        yield _table(["candidate", "version"], list(report.versions.items()))


def _scenario(scenario: Scenario, report: Report) -> Iterator[str]:
    candidates = report.candidates(scenario.name)
    if not candidates:
        return
    yield f"## {scenario.name}: {scenario.title}"
    if note := _NOTES.get(scenario.name):
        yield note
    compared = {key for name, key in report.bases if name == scenario.name}
    header = [""]
    for measure in scenario.measures:
        header.append(f"{measure.title} ({measure.unit})")
        header += ["ratio"] if measure.key in compared else []
    lines = []
    for candidate in candidates:
        line = [candidate]
        for measure in scenario.measures:
            row = report.row(scenario.name, candidate, measure.key)
            line.append(spread(row.summary) if row else "–")
            line += [_ratio(row)] if measure.key in compared else []
        lines.append(line)
    yield _table(header, lines)


def _ratio(row: Row | None) -> str:
    return f"{row.ratio.median:.2f}" if row and row.ratio else "–"


def _targets(targets: Sequence[Judged]) -> Iterator[str]:
    yield "## Targets (ratio to the better of HAProxy's two settings)"
    lines = [
        [
            judged.target.title,
            judged.target.candidate,
            "–" if judged.ratio is None else f"{judged.ratio:.2f}",
            f"≤ {judged.target.must:.2f}",
            "–" if judged.target.aim is None else f"≤ {judged.target.aim:.2f}",
            judged.verdict,
        ]
        for judged in targets
    ]
    yield _table(["", "candidate", "measured", "must", "aim", "verdict"], lines)


def _skipped(report: Report) -> Iterator[str]:
    if not report.skipped:
        return
    yield "## Skipped"
    # One reason often holds for many scenarios.
    scenarios: dict[tuple[str, str], list[str]] = {}
    for skipped in report.skipped:
        scenarios.setdefault((skipped.what, skipped.reason), []).append(skipped.scenario)
    yield "\n".join(
        f"- {what} ({', '.join(names)}): {reason}" for (what, reason), names in scenarios.items()
    )


def spread(summary: Summary) -> str:
    """Return the median with the smallest and the largest value, in as many digits as make sense.

    >>> spread(Summary(38.21, 37.04, 41.0))
    '38.2 (37.0 – 41.0)'
    """
    digits = _digits(summary.median)
    if summary.low == summary.high:
        return f"{summary.median:,.{digits}f}"
    return f"{summary.median:,.{digits}f} ({summary.low:,.{digits}f} – {summary.high:,.{digits}f})"


def _digits(value: float) -> int:
    if abs(value) >= 100:
        return 0
    return 1 if abs(value) >= 10 else 2


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)

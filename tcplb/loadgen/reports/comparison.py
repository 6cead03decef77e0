"""Several targets under the same load, side by side.

They are measured interleaved, in rounds: each round measures each of them once. A ratio is taken
within a round, of two runs that are seconds apart, and only then summed up over the rounds. What
slows the machine down for a while (a neighbour, heat, a cron job) slows both runs of such a pair,
and so drops out of their quotient. It would not drop out of a quotient of two medians, which may
come from different rounds. The smallest and the largest ratio then say how far the answer can be
trusted: if 1 lies between them, the rounds do not agree on which target is better.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from tcplb.loadgen.histogram import Histogram
from tcplb.loadgen.reports import figures, table
from tcplb.loadgen.reports.figures import NOTHING, plural, printable, significant
from tcplb.loadgen.reports.report import FORMAT, PERCENTILES, Report, percentile_ms, rate
from tcplb.loadgen.reports.report import to_report as to_run_report
from tcplb.loadgen.reports.text import columns, load_in_words
from tcplb.loadgen.result import RunResult


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a run."""

    key: str
    title: str
    unit: str
    """As in JSON."""
    better: str
    """``more`` or ``less``."""
    of: Callable[[RunResult], float | None]
    shown: Callable[[float], str]


def _percentile(key: str, times: Callable[[RunResult], Histogram]) -> Measure:
    kind, _, name = key.partition("_")
    return Measure(
        f"{key}_ms",
        f"{kind} {name.replace('_', '.')}",
        "ms",
        "less",
        lambda result: percentile_ms(times(result), PERCENTILES[name]),
        figures.time,
    )


def _per_second(value: float) -> str:
    return f"{figures.size(value)}/s"


MEASURES = (
    Measure(
        "requests_per_second",
        "requests/s",
        "1/s",
        "more",
        lambda result: rate(result.total.requests, result.seconds),
        figures.number,
    ),
    _percentile("latency_p50", lambda result: result.total.latency),
    _percentile("latency_p99", lambda result: result.total.latency),
    _percentile("latency_p99_9", lambda result: result.total.latency),
    _percentile("connect_p50", lambda result: result.total.connect),
    Measure(
        "bytes_received_per_second",
        "received",
        "B/s",
        "more",
        lambda result: rate(result.total.bytes_received, result.seconds),
        _per_second,
    ),
    Measure(
        "errors",
        "errors",
        "1",
        "less",
        lambda result: result.total.errors,
        figures.count,
    ),
)
_BY_KEY = {measure.key: measure for measure in MEASURES}


@dataclass(frozen=True, slots=True)
class Spread:
    """What is kept of some values: the rounds of one measure of one name, or their ratios."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float | None]) -> Spread | None:
        """Sum up the values that there are; None if there is none."""
        known = [value for value in values if value is not None]
        return Spread(statistics.median(known), min(known), max(known)) if known else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rounds, each with one result a name, in the same order of names."""

    rounds: Sequence[Sequence[RunResult]]

    def __post_init__(self) -> None:
        """Raises ValueError if there is no result, or the rounds do not have the same names."""
        if not self.rounds or not self.names:
            raise ValueError("there is nothing to compare")
        if len(set(self.names)) < len(self.names):
            raise ValueError("two of the compared have the same name")
        if any([result.name for result in each] != self.names for each in self.rounds):
            raise ValueError("the rounds do not have the same names in the same order")

    @property
    def names(self) -> list[str]:
        """What is compared; the first is what the others are divided by."""
        return [result.name for result in self.rounds[0]]

    def spread(self, measure: Measure, name: str) -> Spread | None:
        """Return the values of a name over the rounds; None if nothing was measured."""
        return Spread.of(self._values(measure, name))

    def ratio(self, measure: Measure, name: str) -> Spread | None:
        """Return the ratios to the first name, each taken within its round.

        A round counts if the first name has a value above 0 and the other has one; None if there
        is no such round.
        """
        pairs = zip(self._values(measure, name), self._values(measure, self.names[0]), strict=True)
        return Spread.of(
            [value / base if value is not None and base else None for value, base in pairs]
        )

    def _values(self, measure: Measure, name: str) -> list[float | None]:
        place = self.names.index(name)
        return [measure.of(each[place]) for each in self.rounds]


def to_report(comparison: Comparison) -> Report:
    """Return a comparison as JSON's types, the reports of its runs included, round by round."""
    runs = list(chain.from_iterable(comparison.rounds))
    return {
        "format": FORMAT,
        "base": comparison.names[0],
        "rounds": len(comparison.rounds),
        "seconds_per_round": round(statistics.median(run.seconds for run in runs), 3),
        "names": comparison.names,
        "measures": [_measure(comparison, measure) for measure in MEASURES],
        "runs": [to_run_report(run) for run in runs],
    }


def _measure(comparison: Comparison, measure: Measure) -> Report:
    return {
        "measure": measure.key,
        "unit": measure.unit,
        "better": measure.better,
        "values": [
            {
                "name": name,
                "value": _spread(comparison.spread(measure, name)),
                "ratio": _spread(comparison.ratio(measure, name)),
            }
            for name in comparison.names
        ],
    }


def _spread(spread: Spread | None) -> Report | None:
    if spread is None:
        return None
    return {
        "median": significant(spread.median, 6),
        "low": significant(spread.low, 6),
        "high": significant(spread.high, 6),
    }


def to_text(report: Report) -> str:
    """Return a comparison's report for a person."""
    names, runs = report["names"], report["runs"]
    lines = [
        f"{plural(report['rounds'], 'round')} of {figures.seconds(report['seconds_per_round'])} "
        f"for each of {len(names)} targets, interleaved",
        f"{runs[0]['mode']}, {load_in_words(runs[0])}",
        "",
        *columns(
            [
                (printable(name), printable(run["target"]))
                for name, run in zip(names, runs, strict=False)
            ],
            left=2,
        ),
        "",
        *columns(_rows(report), left=2),
        "",
        "Each is the median (smallest – largest) over the rounds; a ratio is to "
        f"{printable(report['base'])} in the same round.",
    ]
    return "\n".join(lines) + "\n"


def measured(report: Report) -> list[Report]:
    """Return the measures of a report of which there is any value."""
    return [
        measure
        for measure in report["measures"]
        if any(value["value"] for value in measure["values"])
    ]


def _rows(report: Report) -> Iterator[tuple[str, ...]]:
    yield "measure", "target", "value", "ratio"
    for measure in measured(report):
        for place, value in enumerate(measure["values"]):
            titled = "" if place else title(measure)
            yield titled, printable(value["name"]), *value_cells(measure, value, report["base"])


def title(measure: Report) -> str:
    """Return what a measure of a report is called, and which way it is better."""
    return f"{_BY_KEY[measure['measure']].title} ({measure['better']} is better)"


def value_cells(measure: Report, value: Report, base: str) -> tuple[str, str]:
    """Return what a name has of a measure, and the ratio, in words."""
    ratio = NOTHING if value["name"] == base else _shown(value["ratio"], figures.number)
    return _shown(value["value"], _BY_KEY[measure["measure"]].shown), ratio


def _shown(spread: Report | None, shown: Callable[[float], str]) -> str:
    if spread is None:
        return NOTHING
    median, low, high = (shown(spread[key]) for key in ("median", "low", "high"))
    return median if low == high else f"{median} ({low} – {high})"


def to_csv(report: Report) -> str:
    """Return a comparison's report as CSV: one line a name and round."""
    names = len(report["names"])
    return table.write(
        [
            {"round": place // names + 1, **table.cells(run)}
            for place, run in enumerate(report["runs"])
        ]
    )

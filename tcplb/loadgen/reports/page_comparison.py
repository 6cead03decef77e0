"""The part of the page that sets targets side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tcplb.loadgen.reports import figures
from tcplb.loadgen.reports.comparison import measured, title, value_cells
from tcplb.loadgen.reports.figures import plural
from tcplb.loadgen.reports.page_charts import (
    Bar,
    Chart,
    Line,
    bars,
    percentile_axis,
    percentile_x,
    y_axis,
)
from tcplb.loadgen.reports.page_markup import Markup, element, table
from tcplb.loadgen.reports.page_timeline import SERIES, figure
from tcplb.loadgen.reports.report import Report
from tcplb.loadgen.reports.text import load_in_words

_HOW = (
    "The targets were measured in turns. Each value is the median (smallest – largest) over the "
    "rounds. A ratio is taken within each round, so what slows the machine for a while slows both "
    "of its sides; if 1 lies between its smallest and largest value, the rounds do not agree."
)


def comparison_section(comparison: Report) -> Iterator[Markup]:
    """Yield what the rounds have shown, and the runs they are from by their titles."""
    runs = comparison["runs"]
    rounds = plural(comparison["rounds"], "round")
    each = figures.seconds(comparison["seconds_per_round"])
    yield element("p", f"{rounds} of {each} for each: {runs[0]['mode']}, {load_in_words(runs[0])}")
    yield element("p", _HOW, class_="note")
    yield element("div", *_figures(comparison), class_="charts")
    yield table("Measures", ["measure", "target", "value", "ratio"], _rows(comparison), left=2)
    targets = [[name, run["target"]] for name, run in zip(comparison["names"], runs, strict=False)]
    yield table("Targets", ["name", "target"], targets, left=2)
    yield element("h2", "The runs")


def _rows(comparison: Report) -> Iterator[list[str]]:
    for measure in measured(comparison):
        for value in measure["values"]:
            yield [title(measure), value["name"], *value_cells(measure, value, comparison["base"])]


def _figures(comparison: Report) -> Iterator[Markup]:
    ratios = list(_ratios(comparison))
    if ratios:
        label = f"Ratios to {comparison['base']}; the table has the same figures."
        drawn = bars(label, ratios, (1.0, f"1 = {figures.printable(comparison['base'], 24)}"))
        yield figure(f"Ratio to {comparison['base']}", drawn, _legend(comparison["names"][1:], 1))
    runs = [run for run in comparison["runs"] if run["latency_distribution"]]
    if runs:
        legend = _legend(comparison["names"], 0)
        yield figure("Latency by percentile, a line a run", _distribution(comparison, runs), legend)


def _kind(place: int) -> str:
    return f"series-{place}" if place < SERIES else "series-rest"


def _legend(names: Sequence[str], first: int) -> dict[str, str]:
    legend: dict[str, str] = {}
    for place, name in enumerate(names, start=first):
        kind = _kind(place)
        legend[kind] = f"{legend[kind]}, {name}" if kind in legend else name
    return legend


def _ratios(comparison: Report) -> Iterator[Bar]:
    for measure in measured(comparison):
        for place, value in enumerate(measure["values"]):
            ratio = value["ratio"]
            if not place or ratio is None:
                continue
            yield Bar(
                _kind(place),
                title(measure).partition(" (")[0],
                ratio["median"],
                figures.number(ratio["median"]),
                ratio["low"],
                ratio["high"],
            )


def _distribution(comparison: Report, runs: Sequence[Report]) -> Markup:
    most = max(run["latency_distribution"][-1][1] for run in runs)
    count = max(run["latency_ms"]["count"] for run in runs)
    unit, worth = figures.time_unit(most)
    lines = [
        Line(
            _kind(comparison["names"].index(run["name"])),
            run["name"],
            [
                (percentile_x(percent, run["latency_ms"]["count"]), ms)
                for percent, ms in run["latency_distribution"]
            ],
        )
        for run in runs
    ]
    return Chart(
        f"Latency by percentile of {len(runs)} runs, the highest {figures.time(most)}.",
        percentile_axis(count),
        y_axis(unit, most, worth),
        lines=lines,
    ).draw()

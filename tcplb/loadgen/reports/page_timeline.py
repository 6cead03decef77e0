"""The part of the page that shows a run second by second."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tcplb.loadgen.reports import figures
from tcplb.loadgen.reports.figures import printable
from tcplb.loadgen.reports.page_charts import (
    Axis,
    Chart,
    Column,
    Hover,
    Line,
    Mark,
    time_axis,
    y_axis,
)
from tcplb.loadgen.reports.page_markup import Markup, element, table
from tcplb.loadgen.reports.report import Report, rate

_MOST = 120
"""Points of a chart; a longer run has several seconds to a point."""
_SHORTEST = 0.25
"""Seconds. The rate of what is left at the end of a run, if it is shorter, means nothing."""
SERIES = 8
"""Backends with a colour of their own; the rest are one."""
_LONGEST_LABEL = 24


@dataclass(frozen=True, slots=True)
class Span:
    """One point of the charts over time: a second, or several of a long run."""

    first: int
    last: int
    """Numbers of seconds; those of the warm-up are negative."""
    seconds: float
    """How much of them was measured."""
    requests: int
    errors: int
    retries: int
    open: int
    """Connections at the end."""
    p50_ms: float | None
    """The median of the seconds' medians."""
    p99_ms: float | None
    """The worst of the seconds."""
    backends: Counter[str]

    @property
    def middle(self) -> float:
        """Seconds since counting began."""
        return (self.first + self.last + 1) / 2

    @property
    def title(self) -> str:
        """The seconds in words."""
        if self.first == self.last:
            return f"second {self.first}"
        return f"seconds {self.first} to {self.last}"

    def rate(self, count: int) -> float:
        """Return so many as a rate per second."""
        return rate(count, self.seconds)


def spans(report: Report) -> list[Span]:
    """Return the timeline as at most 120 points."""
    timeline = report["timeline"]
    width = max(math.ceil(len(timeline) / _MOST), 1)
    groups = [timeline[start : start + width] for start in range(0, len(timeline), width)]
    points = [_span(group, report) for group in groups]
    while len(points) > 1 and points[-1].seconds < _SHORTEST:
        points.pop()
    return [point for point in points if point.seconds > 0]


def _span(seconds: Sequence[Report], report: Report) -> Span:
    first, last = seconds[0]["second"], seconds[-1]["second"]
    # The first second of a warm-up, and the last one of all, may be shorter.
    begins = max(float(first), -float(report["load"]["warmup_seconds"]))
    ends = min(float(last + 1), float(report["seconds"]))
    backends: Counter[str] = Counter()
    for second in seconds:
        backends.update(second["backends"])
    return Span(
        first=first,
        last=last,
        seconds=ends - begins,
        requests=sum(second["requests"] for second in seconds),
        errors=sum(second["errors"] for second in seconds),
        retries=sum(second.get("retries", 0) for second in seconds),
        open=seconds[-1]["open"],
        p50_ms=_median(_known(seconds, "p50_ms")),
        p99_ms=max(_known(seconds, "p99_ms"), default=None),
        backends=backends,
    )


def _known(seconds: Sequence[Report], key: str) -> list[float]:
    return [second[key] for second in seconds if second[key] is not None]


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def timeline(report: Report) -> Iterator[Markup]:
    """Yield the charts and tables of what happened when."""
    points = spans(report)
    if not points:
        return
    marks = _marks(report)
    yield element("h3", "Over time")
    if points[0].last > points[0].first:
        several = points[0].last - points[0].first + 1
        yield element("p", _WIDE.format(several), class_="note")
    yield element("div", *_figures(points, marks), class_="charts")
    yield element("details", element("summary", "The same as a table"), _table(report, points))


_WIDE = (
    "Each point stands for {} seconds: their mean rate, the median of their p50s, and the worst of "
    "their p99s."
)


def _figures(points: Sequence[Span], marks: Sequence[Mark]) -> Iterator[Markup]:
    yield figure("Requests and errors per second", _rates(points, marks), _RATES)
    if any(point.p99_ms is not None for point in points):
        yield figure("Latency of requests", _latency(points, marks), _LATENCY)
    named = _named(points)
    if named:
        legend = {f"series-{place}": name for place, name in enumerate(named)}
        if any(set(point.backends) - set(named) for point in points):
            legend["series-rest"] = "all others"
        yield figure("Share of each backend", _shares(points, named, marks), legend)


_RATES = {"requests": "requests", "errors": "errors"}
_LATENCY = {"p50": "p50", "p99": "p99"}


def figure(title: str, drawn: Markup, legend: dict[str, str]) -> Markup:
    """Return a chart with its title and what its colours mean, by their class."""
    entries = [
        element("li", element("span", class_=f"swatch {kind}"), name)
        for kind, name in legend.items()
    ]
    listed = [element("ul", *entries, class_="legend")] if entries else []
    return element("figure", element("figcaption", title), *listed, drawn)


def _marks(report: Report) -> list[Mark]:
    events = report.get("chaos", {}).get("events", ())
    return [
        Mark(
            event["kind"],
            event["at"],
            printable(f"{event['kind']} {event['backend']}", _LONGEST_LABEL),
            f"{figures.seconds(event['at'])}: {event['text']}",
        )
        for event in sorted(events, key=lambda event: event["at"])
    ]


def _rates(points: Sequence[Span], marks: Sequence[Mark]) -> Markup:
    rates = [point.rate(point.requests) for point in points]
    most = max(*rates, *(point.rate(point.errors) for point in points))
    errors = sum(point.errors for point in points)
    return Chart(
        f"Requests per second over time: {figures.number(min(rates))} to "
        f"{figures.number(max(rates))}. Errors: {figures.count(errors)} in all.",
        _axis(points),
        y_axis("per second", most),
        lines=[
            Line(
                "requests",
                "requests",
                [(point.middle, point.rate(point.requests)) for point in points],
            )
        ],
        columns=[
            Column("errors", point.first, point.last + 1, 0, point.rate(point.errors))
            for point in points
            if point.errors
        ],
        marks=marks,
        hovers=[_hover(point) for point in points],
    ).draw()


def _latency(points: Sequence[Span], marks: Sequence[Mark]) -> Markup:
    worst = max(point.p99_ms or 0 for point in points)
    unit, worth = figures.time_unit(worst)
    return Chart(
        f"Latency over time. The highest p50 of a point is "
        f"{figures.time(max(point.p50_ms or 0 for point in points))}, the highest p99 "
        f"{figures.time(worst)}.",
        _axis(points),
        y_axis(unit, worst, worth),
        lines=[
            Line("p99", "p99", [(point.middle, point.p99_ms) for point in points]),
            Line("p50", "p50", [(point.middle, point.p50_ms) for point in points]),
        ],
        marks=marks,
        hovers=[_hover(point) for point in points],
    ).draw()


def _named(points: Sequence[Span]) -> list[str]:
    """Return the backends that get a colour: the busiest, by name."""
    total: Counter[str] = Counter()
    for point in points:
        total.update(point.backends)
    busiest = sorted(total, key=lambda name: (-total[name], name))
    return sorted(busiest[:SERIES])


def _shares(points: Sequence[Span], named: Sequence[str], marks: Sequence[Mark]) -> Markup:
    columns = [column for point in points for column in _stack(point, named)]
    return Chart(
        f"Share of requests of each backend over time, for {', '.join(named)}; the table has the "
        "totals.",
        _axis(points),
        y_axis("% of requests", 100),
        columns=columns,
        marks=marks,
        hovers=[
            Hover(point.first, point.last + 1, _shares_in_words(point, named)) for point in points
        ],
    ).draw()


def _stack(point: Span, named: Sequence[str]) -> Iterator[Column]:
    total = point.backends.total()
    rest = total - sum(point.backends[name] for name in named)
    parts = [(f"series-{place}", point.backends[name]) for place, name in enumerate(named)]
    bottom = 0.0
    for kind, count in [*parts, ("series-rest", rest)]:
        if count:
            top = bottom + 100 * count / total
            yield Column(kind, point.first, point.last + 1, bottom, top)
            bottom = top


def _shares_in_words(point: Span, named: Sequence[str]) -> str:
    total = point.backends.total()
    shares = [
        f"{printable(name, _LONGEST_LABEL)} {figures.percent(point.backends[name] / total)}"
        for name in named
        if total
    ]
    return f"{point.title}: {', '.join(shares) or 'no backend named itself'}"


def _hover(point: Span) -> Hover:
    return Hover(
        point.first,
        point.last + 1,
        f"{point.title}: {figures.number(point.rate(point.requests))} requests/s, "
        f"{figures.count(point.errors)} errors, p50 {figures.time(point.p50_ms)}, "
        f"p99 {figures.time(point.p99_ms)}",
    )


def _axis(points: Sequence[Span]) -> Axis:
    return time_axis(points[0].first, points[-1].last + 1)


def _table(report: Report, points: Sequence[Span]) -> Markup:
    chaos = "chaos" in report
    header = ["second", "requests", "requests/s", "errors", "open connections", "p50", "p99"]
    rows = [
        [
            point.title.removeprefix("second "),
            figures.count(point.requests),
            figures.number(point.rate(point.requests)),
            figures.count(point.errors),
            figures.count(point.open),
            figures.time(point.p50_ms),
            figures.time(point.p99_ms),
            *([figures.count(point.retries)] if chaos else []),
        ]
        for point in points
    ]
    return table("Second by second", [*header, *(["retries"] if chaos else [])], rows)

"""Reports as one HTML page that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files

from tcplb.loadgen.reports import figures
from tcplb.loadgen.reports.figures import NOTHING, plural
from tcplb.loadgen.reports.page_charts import (
    Bar,
    Chart,
    Line,
    bars,
    percentile_axis,
    percentile_x,
    y_axis,
)
from tcplb.loadgen.reports.page_comparison import comparison_section
from tcplb.loadgen.reports.page_markup import Markup, element, joined, table
from tcplb.loadgen.reports.page_timeline import figure, timeline
from tcplb.loadgen.reports.report import Report
from tcplb.loadgen.reports.text import (
    STATISTICS,
    TIMES,
    error_in_words,
    imbalance_in_words,
    keys_in_words,
    load_in_words,
    outage_cells,
)

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="tcplb bench">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
"""
# Names of backends come from outside. They are escaped; the policy is the second lock.

_SETTINGS = {
    "kind": "loop",
    "connections": "connections",
    "rate": "rate (requests/s)",
    "burst": "requests at a time",
    "ramp_seconds": "ramp (s)",
    "warmup_seconds": "warm-up (s)",
    "duration_seconds": "duration (s)",
    "count": "requests at most",
    "payload_bytes": "payload (bytes)",
    "paths": "paths",
    "source_addresses": "source addresses",
    "timeout_seconds": "time-out (s)",
    "processes": "processes",
    "seed": "seed",
}
_MOST_BARS = 40
"""Of more backends, the busiest and the least busy are drawn; the table has all."""


def to_html(reports: Sequence[Report], comparison: Report | None = None) -> str:
    """Return the page of one run, of a set of runs, or of a comparison and its runs."""
    title = _title(reports, comparison)
    body = [element("h1", title)]
    if comparison:
        body += comparison_section(comparison)
    elif len(reports) > 1:
        body.append(_overview(reports))
    if not reports:
        body.append(element("p", "Nothing was measured."))
    for number, report in enumerate(reports, start=1):
        alone = len(reports) == 1 and not comparison
        body.append(_run(report) if alone else _folded(report, number, comparison))
    style = Markup(files("tcplb.loadgen.reports").joinpath("page.css").read_text("utf-8"))
    head = joined([element("title", title), element("style", style)])
    return f"{_HEAD}{head}\n</head>\n<body>\n{element('main', *body)}\n</body>\n</html>\n"


def _title(reports: Sequence[Report], comparison: Report | None) -> str:
    if comparison:
        return f"tcplb bench: {', '.join(comparison['names'])}"
    if len(reports) == 1:
        return f"tcplb bench: {_called(reports[0])}"
    return f"tcplb bench: {plural(len(reports), 'run')}"


def _called(report: Report) -> str:
    return str(report.get("name") or f"{report['mode']} against {report['target']}")


def _overview(reports: Sequence[Report]) -> Markup:
    rows = [
        [
            element("a", _called(report), href=f"#run-{number}"),
            f"{figures.number(report['requests_per_second'])}",
            figures.time(_of(report, "latency_ms", "p50")),
            figures.time(_of(report, "latency_ms", "p99")),
            figures.count(report["errors"]),
            _imbalance(report),
        ]
        for number, report in enumerate(reports, start=1)
    ]
    return table("Runs", ["run", "requests/s", "p50", "p99", "errors", "imbalance"], rows)


def _folded(report: Report, number: int, comparison: Report | None) -> Markup:
    """Return a run under its name; those of a comparison are details, and closed."""
    if not comparison:
        title = element("h2", _called(report), id=f"run-{number}")
        return element("section", title, _run(report))
    lap = (number - 1) // len(comparison["names"]) + 1
    title = element("summary", f"{_called(report)}, round {lap}", class_="run")
    return element("details", title, _run(report), id=f"run-{number}")


def _run(report: Report) -> Markup:
    return joined(
        [
            *_introduction(report),
            _cards(report),
            *timeline(report),
            *_times(report),
            *_spread(report),
            *_failures(report),
            *_chaos(report),
            *_settings(report),
        ]
    )


def _introduction(report: Report) -> Iterator[Markup]:
    yield element("p", f"{report['mode']} against {report['target']}: {load_in_words(report)}")
    yield element("p", f"Counted from {report['started_at']}.", class_="note")
    if report["interrupted"]:
        asked = figures.seconds(report["load"]["duration_seconds"])
        words = f"Interrupted: {figures.seconds(report['seconds'])} of {asked} were measured."
        yield element("p", words, class_="warning")


def _cards(report: Report) -> Markup:
    moved = report["bytes"]
    requests = f"{plural(report['requests'], 'request')}"
    cards = [
        _card("requests per second", figures.number(report["requests_per_second"]), requests),
        *(
            _card(f"latency {STATISTICS[key]}", figures.time(_of(report, "latency_ms", key)))
            for key in ("p50", "p99", "p99_9")
        ),
        _card(
            "errors",
            figures.count(report["errors"]),
            figures.percent(report["error_rate"]),
            "bad" if report["errors"] else None,
        ),
        _card("imbalance", _imbalance(report), plural(len(report["backends"]), "backend")),
        _card(
            "received",
            f"{figures.size(moved['received_per_second'])}/s",
            f"{figures.size(moved['received'])}; sent {figures.size(moved['sent'])}",
        ),
        _card("connections", figures.count(report["connections"]), _opened(report)),
    ]
    return element("dl", *cards, class_="cards")


def _card(title: str, value: str, note: str = "", kind: str | None = None) -> Markup:
    shown = element("dd", value, *([element("small", note)] if note else []))
    return element("div", element("dt", title), shown, class_=kind)


def _opened(report: Report) -> str:
    return f"{figures.number(report['connections_per_second'])}/s opened"


def _imbalance(report: Report) -> str:
    uneven = report["imbalance"]
    return NOTHING if uneven is None else f"{uneven:.3g} ×"


def _of(report: Report, times: str, statistic: str) -> float | None:
    return report[times][statistic] if report[times] else None


def _times(report: Report) -> Iterator[Markup]:
    measured = {title: report[key] for key, title in TIMES.items() if report[key]}
    if not measured:
        return
    yield element("h3", "Times")
    if report["latency_distribution"]:
        chart = _distribution(report)
        yield element("div", figure("Latency by percentile", chart, {}), class_="charts")
    rows = [
        [title, *(figures.time(times[key]) for times in measured.values())]
        for key, title in STATISTICS.items()
    ]
    counts = ["count", *(figures.count(times["count"]) for times in measured.values())]
    yield table("Percentiles", ["percentile", *measured], [*rows, counts])
    yield element("p", error_in_words(report), class_="note")


def _distribution(report: Report) -> Markup:
    points, count = report["latency_distribution"], report["latency_ms"]["count"]
    most = points[-1][1]
    unit, worth = figures.time_unit(most)
    return Chart(
        f"Latency by percentile: p50 {figures.time(report['latency_ms']['p50'])}, "
        f"p99 {figures.time(report['latency_ms']['p99'])}, highest {figures.time(most)}.",
        percentile_axis(count),
        y_axis(unit, most, worth),
        lines=[Line("latency", "latency", [(percentile_x(p, count), ms) for p, ms in points])],
    ).draw()


def _spread(report: Report) -> Iterator[Markup]:
    backends = report["backends"]
    if not backends and not report["keys"]:
        return
    yield element("h3", "Spread over backends")
    if backends:
        yield element("p", imbalance_in_words(report["imbalance"]))
    if report["keys"]:
        yield element("p", keys_in_words(report["keys"]))
    if report["imbalance"] is not None:
        chart = figure("Requests of each backend", _backend_bars(backends), {})
        yield element("div", chart, class_="charts")
    rows = [
        [
            backend["name"],
            figures.count(backend["requests"]),
            figures.count(backend["connections"]),
            figures.percent(backend["share"]),
        ]
        for backend in backends
    ]
    if rows:
        yield table("Backends", ["backend", "requests", "connections", "share"], rows)


def _backend_bars(backends: Sequence[Report]) -> Markup:
    shown = backends
    if len(backends) > _MOST_BARS:
        by_requests = sorted(backends, key=lambda backend: -backend["requests"])
        shown = [*by_requests[: _MOST_BARS // 2], *by_requests[-_MOST_BARS // 2 :]]
    rows = [
        Bar(
            "bar",
            backend["name"],
            backend["requests"],
            f"{figures.count(backend['requests'])} · {figures.percent(backend['share'])}",
        )
        for backend in shown
    ]
    mean = sum(backend["requests"] for backend in backends) / len(backends)
    label = f"Requests of {len(shown)} of {len(backends)} backends; the table has them all."
    return bars(label, rows, (mean, f"mean {figures.count(mean)}"))


def _failures(report: Report) -> Iterator[Markup]:
    yield element("h3", "Errors")
    rows = [[failure["cause"], figures.count(failure["count"])] for failure in report["failures"]]
    if rows:
        yield table("Failures by cause", ["cause", "count"], rows)
    else:
        yield element("p", "There were none.")
    if report["statuses"]:
        statuses = [[status, figures.count(n)] for status, n in report["statuses"].items()]
        yield table("HTTP answers by status", ["status", "count"], statuses)


def _chaos(report: Report) -> Iterator[Markup]:
    if "chaos" not in report:
        return
    chaos = report["chaos"]
    yield element("h3", "What happened to backends")
    outages = [
        [*outage_cells(outage), figures.count(outage["retries"])] for outage in chaos["outages"]
    ]
    if outages:
        header = ["backend", "killed at", "ejected after", "restarted at", "back after", "errors"]
        yield table("Outages", [*header, "retries"], outages)
        yield element("p", _OUTAGES, class_="note")
    events = [
        [figures.seconds(event["at"]), event["kind"], event["backend"], event["text"]]
        for event in chaos["events"]
    ]
    if events:
        yield table("Events", ["at", "event", "backend", "in words"], events, left=4)


_OUTAGES = (
    "Ejected after: from the kill. Back after: from the restart to the first connection that the "
    "balancer gave it. Errors are what clients saw; retries are connects that the balancer tried "
    "again elsewhere, unseen by clients."
)


def _settings(report: Report) -> Iterator[Markup]:
    yield element("h3", "Settings")
    load = report["load"]
    rows = [
        ["target", report["target"]],
        ["mode", report["mode"]],
        *([title, _setting(load[key])] for key, title in _SETTINGS.items()),
    ]
    yield table("What was asked for", ["setting", "value"], rows, left=2)


def _setting(value: str | float | None) -> str:
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else f"{value:,}".removesuffix(".0")

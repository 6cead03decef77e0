"""A report as plain text for a person at a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tcplb.loadgen.reports import figures
from tcplb.loadgen.reports.figures import NOTHING, plural, printable
from tcplb.loadgen.reports.report import Report

TIMES = {"latency_ms": "latency", "connect_ms": "connect", "first_byte_ms": "first byte"}
STATISTICS = {
    "mean": "mean",
    "p50": "p50",
    "p90": "p90",
    "p99": "p99",
    "p99_9": "p99.9",
    "max": "max",
}
_BAR = 24
"""Characters of the longest bar."""
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LONGEST_NAME = 40


def to_text(report: Report) -> str:
    """Return a report of one run, as `to_report` made it."""
    parts = (
        _head(report),
        _rates(report),
        _times(report),
        _failures(report),
        _spread(report),
        _timeline(report),
        _outages(report),
        _interrupted(report),
    )
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(part))) + "\n"


def columns(rows: Iterable[Sequence[str]], left: int = 1) -> Iterator[str]:
    """Yield the lines of a table; the first `left` columns are flush left, the others right."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def load_in_words(report: Report) -> str:
    """Return what was asked for, on one line."""
    load = report["load"]
    connections = plural(load["connections"], "connection")
    if load["kind"] == "open":
        words = [f"open loop of {figures.number(load['rate'])} requests/s over {connections}"]
    else:
        words = [f"closed loop of {connections}"]
    several = {
        f"{load['burst']:,} at a time": load["burst"] > 1,
        f"grown over {figures.seconds(load['ramp_seconds'])}": load["ramp_seconds"],
        f"{figures.size(load['payload_bytes'])} of payload": load["payload_bytes"],
        f"{load['paths']:,} paths": load["paths"] > 1,
        f"{load['source_addresses']:,} source addresses": load["source_addresses"] > 1,
        f"{load['count'] or 0:,} requests at most": load["count"],
        f"{load['processes']:,} processes": load["processes"] > 1,
        f"{figures.seconds(load['warmup_seconds'])} of warm-up": load["warmup_seconds"],
        f"{figures.seconds(report['seconds'])} measured": True,
    }
    return ", ".join(words + [word for word, said in several.items() if said])


def imbalance_in_words(imbalance: float | None) -> str:
    """Return what an imbalance means."""
    if imbalance is None:
        return "No backend named itself in an answer."
    times = f"{imbalance:.3g}"
    return (
        "No backend had more than the mean."
        if times == "1"
        else f"The busiest backend had {times} times the mean."
    )


def error_in_words(report: Report) -> str:
    """Return how exact times are."""
    return (
        f"Times are within ± {report['latency_relative_error'] * 100:.1g} % of the measured ones."
    )


def keys_in_words(keys: Mapping[str, int]) -> str:
    """Return how many keys stayed with their backend."""
    if not keys["seen"]:
        return "No key met a backend that names itself."
    seen = plural(keys["seen"], "key")
    if not keys["moved"]:
        return f"{seen}: all stayed with their backend."
    moves = plural(keys["moves"], "move")
    return f"{seen}: {figures.count(keys['moved'])} met another backend than before, in {moves}."


def _head(report: Report) -> Iterator[str]:
    name = f"{printable(report['name'])}: " if "name" in report else ""
    yield f"{name}{report['mode']} against {printable(report['target'])}"
    yield load_in_words(report)


def _rates(report: Report) -> Iterator[str]:
    rows = []
    for key in ("requests", "connections"):
        per_second = figures.number(report[f"{key}_per_second"])
        rows.append((key, figures.count(report[key]), f"{per_second}/s"))
    for key in ("sent", "received"):
        per_second = figures.size(report["bytes"][f"{key}_per_second"])
        rows.append((key, figures.size(report["bytes"][key]), f"{per_second}/s"))
    errors = figures.count(report["errors"])
    yield from columns([*rows, ("errors", errors, figures.percent(report["error_rate"]))])


def _times(report: Report) -> Iterator[str]:
    measured = {title: report[key] for key, title in TIMES.items() if report[key]}
    if not measured:
        return
    rows = [["time", *measured]]
    for key, title in STATISTICS.items():
        rows.append([title, *(figures.time(times[key]) for times in measured.values())])
    rows.append(["count", *(figures.count(times["count"]) for times in measured.values())])
    yield from columns(rows)
    yield error_in_words(report)


def _failures(report: Report) -> Iterator[str]:
    if report["failures"]:
        rows = [
            (printable(row["cause"]), figures.count(row["count"])) for row in report["failures"]
        ]
        yield from columns([("failure", "count"), *rows])
    # An answer is an answer, but one of 503 is seldom what was wanted.
    if set(report["statuses"]) - {"200"}:
        statuses = report["statuses"].items()
        yield "statuses  " + ", ".join(f"{status}: {count:,}" for status, count in statuses)


def _spread(report: Report) -> Iterator[str]:
    backends = report["backends"]
    if backends:
        longest = max(backend["share"] for backend in backends)
        rows = [
            (
                printable(backend["name"], _LONGEST_NAME),
                figures.count(backend["requests"]),
                figures.count(backend["connections"]),
                figures.percent(backend["share"]),
                _bar(backend["share"], longest),
            )
            for backend in backends
        ]
        yield from columns([("backend", "requests", "connections", "share", " " * _BAR), *rows])
        yield imbalance_in_words(report["imbalance"])
    if report["keys"]:
        yield keys_in_words(report["keys"])


def _bar(share: float, longest: float) -> str:
    eighths = round(8 * _BAR * share / longest) if longest else 0
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).ljust(_BAR)[:_BAR]


def _timeline(report: Report) -> Iterator[str]:
    if "chaos" not in report or not report["timeline"]:
        return
    happened = _events_by_second(report)
    rows = [
        (
            figures.count(second["second"]),
            figures.count(second["requests"]),
            figures.count(second["errors"]),
            figures.count(second["retries"]),
            figures.time(second["p99_ms"]),
        )
        for second in report["timeline"]
    ]
    lines = list(columns([("second", "requests", "errors", "retries", "p99"), *rows], left=0))
    yield lines[0]
    for second, line in zip(report["timeline"], lines[1:], strict=True):
        events = "; ".join(happened.get(second["second"], ()))
        yield f"{line}  {events}".rstrip()


def _events_by_second(report: Report) -> dict[int, list[str]]:
    """Return the events in words; those before or after the timeline go to its nearest second."""
    first, last = report["timeline"][0]["second"], report["timeline"][-1]["second"]
    happened: dict[int, list[str]] = {}
    for event in report["chaos"]["events"]:
        second = min(max(math.floor(event["at"]), first), last)
        happened.setdefault(second, []).append(printable(event["text"]))
    return happened


def _outages(report: Report) -> Iterator[str]:
    outages = report.get("chaos", {}).get("outages")
    if not outages:
        return
    header = ("outage", "killed at", "ejected after", "restarted at", "back after", "errors")
    rows = [(*outage_cells(outage), figures.count(outage["retries"])) for outage in outages]
    yield from columns([(*header, "retries"), *rows])
    yield "Ejected: after the kill. Back: from the restart to the first connection it is given."


def outage_cells(outage: Report) -> tuple[str, ...]:
    """Return an outage as cells: backend, killed, ejected, restarted, back, errors."""
    return (
        printable(outage["backend"], _LONGEST_NAME),
        figures.seconds(outage["killed_at"]),
        _after(outage["seconds_to_eject"]),
        NOTHING if outage["restarted_at"] is None else figures.seconds(outage["restarted_at"]),
        _after(outage["seconds_to_return"]),
        figures.count(outage["errors"]),
    )


def _after(seconds: float | None) -> str:
    return "never" if seconds is None else figures.time(seconds * 1000)


def _interrupted(report: Report) -> Iterator[str]:
    if report["interrupted"]:
        asked = figures.seconds(report["load"]["duration_seconds"])
        yield f"Interrupted: {figures.seconds(report['seconds'])} of {asked} were measured."
    if not (report["requests"] or report["connections"] or report["errors"]):
        yield "Nothing was measured."

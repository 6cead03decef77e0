"""Reports as CSV: one line of names, and one line a report."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from tcplb.loadgen.reports.figures import printable
from tcplb.loadgen.reports.report import PERCENTILES, Report

Cell = str | int | float | bool | None

_FORMULA = tuple("=+-@＝＋－＠")
"""A spreadsheet takes a cell that begins with one of these for a formula. After
https://owasp.org/www-community/attacks/CSV_Injection, without the control characters: those are
written out."""
_TIMES = ("latency", "connect", "first_byte")


def to_csv(reports: Iterable[Report]) -> str:
    """Return reports of single runs, as `to_report` made them. What was not measured is empty."""
    return write([cells(report) for report in reports])


def cells(report: Report) -> dict[str, Cell]:
    """Return the line of one report, by the names of its columns."""
    keys = report["keys"] or {}
    return {
        "name": _text(report.get("name", "")),
        "target": _text(report["target"]),
        "mode": report["mode"],
        "seconds": report["seconds"],
        "requests": report["requests"],
        "requests_per_second": report["requests_per_second"],
        "connections": report["connections"],
        "connections_per_second": report["connections_per_second"],
        **{f"bytes_{name}": value for name, value in report["bytes"].items()},
        "errors": report["errors"],
        "error_rate": report["error_rate"],
        **_times(report),
        "imbalance": report["imbalance"],
        "keys_seen": keys.get("seen"),
        "keys_moved": keys.get("moved"),
        "interrupted": str(report["interrupted"]).lower(),
    }


def write(lines: Sequence[Mapping[str, Cell]]) -> str:
    """Return lines that all have the same columns as CSV; nothing at all if there are none."""
    if not lines:
        return ""
    written = io.StringIO()
    table = csv.DictWriter(written, list(lines[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    return written.getvalue()


def _times(report: Report) -> dict[str, Cell]:
    return {
        f"{kind}_{statistic}_ms": (report[f"{kind}_ms"] or {}).get(statistic)
        for kind in _TIMES
        for statistic in ("mean", *PERCENTILES, "max")
    }


def _text(text: str) -> str:
    """Return text from the user as a cell that no spreadsheet computes."""
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown

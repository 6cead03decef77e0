"""The report as a picture (SVG): horizontal bars, one group a measure, as ratios to HAProxy.

It needs no library and no script, and follows the reader's light or dark colours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

from bench.markdown import spread
from bench.report import Report, Row

WIDTH = 860
LEFT = 170
"""Where bars begin; the names are left of it."""
UNIT = 150
"""Pixels of a ratio of 1."""
MOST = 3.0
"""A larger ratio is cut off here; the number beside it is not."""
BAR, STEP, GAP = 13, 19, 40

GROUPS = (
    ("connect", "cpu", "CPU per connection: connect, one small request, close"),
    ("request", "cpu", "CPU per small request on a kept connection"),
    ("bulk", "cpu", "CPU per GB, bulk"),
    ("idle", "memory", "Memory per idle pair"),
    ("latency", "p99", "p99 of small requests at half of HAProxy's highest rate"),
    ("beside-bulk", "p99", "p99 of small requests beside bulk"),
)
"""Scenario, measure and heading."""

_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 17px; font-weight: 600 }
.heading { font-size: 13px; font-weight: 600 }
.faint { fill: #57606a }
.ours { fill: #2f6fde } .haproxy { fill: #8c959f } .other { fill: #c3cad1 }
.one { stroke: #cf222e; stroke-dasharray: 3 3 }
.whisker { stroke: #24292f; stroke-width: 1.5 }
.paper { fill: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .faint { fill: #9aa4ae } .paper { fill: #0d1117 }
  .ours { fill: #5b95f5 } .haproxy { fill: #7d8590 } .other { fill: #474e57 }
  .one { stroke: #ff7b72 } .whisker { stroke: #e6edf3 }
}
"""


@dataclass(frozen=True)
class _Group:
    heading: str
    base: str
    rows: list[Row]


def to_svg(report: Report) -> str:
    """Return the picture."""
    body: list[str] = []
    top = 76
    for group in _groups(report):
        body += _draw_group(group, top)
        top += GAP + STEP * len(group.rows)
    height = top
    machine = report.machine
    described = [machine[part] for part in ("cpu", "kernel", "date") if part in machine]
    described.insert(1, f"{machine.get('cores', '?')} cores")
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>tcplb against other balancers</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        _text(16, 26, "tcplb against other balancers: less is better", "title"),
        _text(16, 45, ", ".join(described), "faint"),
        _text(
            16,
            61,
            "Ratio to the better of HAProxy's two settings (dashed line): median, smallest to "
            "largest; measured value",
            "faint",
        ),
        *body,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _groups(report: Report) -> Iterator[_Group]:
    for scenario, key, heading in GROUPS:
        rows = [
            row
            for candidate in report.candidates(scenario)
            if (row := report.row(scenario, candidate, key)) and row.ratio
        ]
        if rows:
            base = report.bases[scenario, key]
            yield _Group(f"{heading} ({rows[0].measure.unit})", base, rows)


def _draw_group(group: _Group, top: int) -> Iterator[str]:
    yield _text(16, top + 14, group.heading, "heading")
    top += 22
    for number, row in enumerate(group.rows):
        yield from _draw_row(row, top + STEP * number)
    bottom = top + STEP * len(group.rows)
    yield _line(LEFT + UNIT, top - 3, LEFT + UNIT, bottom - 2, "one")


def _draw_row(row: Row, top: int) -> Iterator[str]:
    assert row.ratio is not None
    middle = top + BAR / 2
    yield _text(LEFT - 8, top + BAR - 2, row.candidate, anchor="end")
    width = _x(row.ratio.median) - LEFT
    yield (
        f'<rect class="{_kind(row.candidate)}" x="{LEFT}" y="{top}" '
        f'width="{width:.1f}" height="{BAR}" rx="2"/>'
    )
    yield _line(_x(row.ratio.low), middle, _x(row.ratio.high), middle, "whisker")
    label = f"{row.ratio.median:.2f}  ·  {spread(row.summary)}"
    yield _text(max(_x(row.ratio.median), _x(row.ratio.high)) + 8, top + BAR - 2, label)


def _x(ratio: float) -> float:
    return LEFT + UNIT * min(ratio, MOST)


def _kind(candidate: str) -> str:
    if candidate.startswith("tcplb"):
        return "ours"
    return "haproxy" if candidate.startswith("haproxy") else "other"


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    attributes = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {attributes}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'

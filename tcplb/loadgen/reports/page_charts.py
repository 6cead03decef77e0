"""Charts in SVG: axes, lines, columns, marks and bars, without a script."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from tcplb.loadgen.reports.figures import printable
from tcplb.loadgen.reports.page_markup import Markup, element

WIDTH = 560
_HEIGHT = 190
"""Of the plot itself."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 14, 10, 40
"""Margins; names and numbers of the axes are in them."""
_LETTER = 6.6
"""Pixels of a letter of the labels, about."""
_MARK_ROW, _MARK_ROWS = 15, 4
_BAR_ROW, _BAR_LEFT, _BAR_RIGHT = 24, 150, 130
_LEAST = 3.0
"""Pixels of a column that is not 0: one error in a million must be seen."""


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`, with `ticks` (value, label)."""

    title: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class Line:
    """Points (x, y) in ascending x, joined by a line that has a gap where y is None."""

    kind: str
    """The class that colours it."""
    name: str
    points: Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Column:
    """A rectangle from x `low` to `high`, and from y `bottom` to `top`."""

    kind: str
    low: float
    high: float
    bottom: float
    top: float


@dataclass(frozen=True, slots=True)
class Hover:
    """What is shown over the part of a chart from x `low` to `high`."""

    low: float
    high: float
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at x."""

    kind: str
    x: float
    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One of horizontal bars."""

    kind: str
    name: str
    value: float
    label: str
    low: float | None = None
    high: float | None = None
    """A whisker, if there are both."""


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn over a pair of axes."""

    label: str
    """The chart in words, for those who cannot see it."""
    x: Axis
    y: Axis
    lines: Sequence[Line] = ()
    columns: Sequence[Column] = ()
    marks: Sequence[Mark] = ()
    hovers: Sequence[Hover] = field(default_factory=list)

    def draw(self) -> Markup:
        """Return the SVG."""
        rows = _mark_rows(self.marks, self)
        top = _TOP + (_MARK_ROW * (max(rows) + 1) if rows else 0)
        plot = _Plot(self.x, self.y, top)
        return _svg(
            self.label,
            top + _HEIGHT + _BOTTOM,
            [
                *_axes(plot),
                *(_column(plot, column) for column in self.columns),
                *(part for line in self.lines for part in _line(plot, line)),
                *(_hover(plot, hover) for hover in self.hovers),
                *(
                    part
                    for mark, row in zip(self.marks, rows, strict=True)
                    for part in _mark(plot, mark, row)
                ),
            ],
        )


def y_axis(title: str, high: float, unit: float = 1.0) -> Axis:
    """Return an axis from 0 to at least `high`, with ticks in multiples of `unit`."""
    step = _nice(high / unit / 4 if high > 0 else 0.25)
    ticks = math.ceil(round(high / unit / step, 6)) if high > 0 else 4
    values = [number * step for number in range(ticks + 1)]
    return Axis(title, 0, values[-1] * unit, [(value * unit, _tick(value)) for value in values])


def time_axis(low: float, high: float) -> Axis:
    """Return an axis of seconds."""
    high = max(high, low + 1)
    step = max(_nice((high - low) / 8), 1)
    first = math.ceil(low / step)
    ticks = [number * step for number in range(first, math.floor(high / step) + 1)]
    return Axis("seconds", low, high, [(value, _tick(value)) for value in ticks])


def percentile_axis(count: int) -> Axis:
    """Return an axis for `percentile_x` of so many values: each nine takes the same room."""
    decades = max(math.log10(count), 1)
    nines = range(1, math.floor(decades) + 1)
    ticks = [(percentile_x(50, count), "50 %")]
    ticks += [(number, f"{100 - 10.0 ** (2 - number):.10g} %") for number in nines]
    return Axis("percentile", 0, decades, ticks)


def percentile_x(percent: float, count: int) -> float:
    """Return log10(1 / (1 - p)), as in the plots of HdrHistogram; 100 % is where 1/count is."""
    decades = max(math.log10(count), 1)
    return decades if percent >= 100 else min(-math.log10(1 - percent / 100), decades)


def bars(label: str, rows: Sequence[Bar], line: tuple[float, str]) -> Markup:
    """Return horizontal bars from 0, with a dashed line at a value and what it means."""
    most = max([line[0], *(max(row.value, row.high or 0) for row in rows)]) or 1.0
    scale = (WIDTH - _BAR_LEFT - _BAR_RIGHT) / most
    bottom = _BAR_ROW * len(rows)
    x = _BAR_LEFT + line[0] * scale
    parts = [element("line", class_="base", x1=x, y1=0, x2=x, y2=bottom + 4)]
    parts += [_bar(row, place, scale) for place, row in enumerate(rows)]
    parts.append(_label(x, bottom + 17, line[1], "middle"))
    return _svg(label, bottom + 24, parts)


@dataclass(frozen=True, slots=True)
class _Plot:
    x: Axis
    y: Axis
    top: float

    @property
    def bottom(self) -> float:
        return self.top + _HEIGHT

    def at_x(self, value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * _part(value, self.x)

    def at_y(self, value: float) -> float:
        return self.bottom - _HEIGHT * _part(value, self.y)


def _part(value: float, axis: Axis) -> float:
    return min(max((value - axis.low) / (axis.high - axis.low), 0), 1)


def _nice(step: float) -> float:
    """Return the smallest of 1, 2, 5 × 10^n that is not below `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= step * 0.999999)


def _tick(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _svg(label: str, height: float, parts: Iterable[Markup]) -> Markup:
    return element("svg", *parts, viewBox=f"0 0 {WIDTH} {height:g}", role="img", aria_label=label)


def _label(x: float, y: float, text: str, anchor: str, kind: str | None = None) -> Markup:
    return element("text", text, x=x, y=y, text_anchor=anchor, class_=kind)


def _axes(plot: _Plot) -> Iterator[Markup]:
    right, middle = WIDTH - _RIGHT, plot.top + _HEIGHT / 2
    for value, text in plot.y.ticks:
        y = plot.at_y(value)
        yield element("line", class_="grid", x1=_LEFT, y1=y, x2=right, y2=y)
        yield _label(_LEFT - 6, y + 4, text, "end")
    for value, text in plot.x.ticks:
        yield _label(plot.at_x(value), plot.bottom + 16, text, "middle")
    yield _label((_LEFT + right) / 2, plot.bottom + 33, plot.x.title, "middle", "faint")
    yield element(
        "text",
        plot.y.title,
        class_="faint",
        text_anchor="middle",
        transform=f"translate(12 {middle:g}) rotate(-90)",
    )


def _column(plot: _Plot, column: Column) -> Markup:
    left, right = plot.at_x(column.low), plot.at_x(column.high)
    top, bottom = plot.at_y(column.top), plot.at_y(column.bottom)
    height = max(bottom - top, _LEAST) if column.top > column.bottom else 0
    gap = 1 if right - left > 4 else 0
    return element(
        "rect",
        class_=column.kind,
        x=left,
        y=bottom - height,
        width=max(right - left - gap, 0.5),
        height=height,
    )


def _line(plot: _Plot, line: Line) -> Iterator[Markup]:
    for measured, group in groupby(line.points, key=lambda point: point[1] is not None):
        if not measured:
            continue
        places = [(plot.at_x(x), plot.at_y(y)) for x, y in group if y is not None]
        if len(places) == 1:
            yield element(
                "circle", class_=f"{line.kind} dot", cx=places[0][0], cy=places[0][1], r=3
            )
        else:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            yield element("polyline", class_=f"{line.kind} line", points=points)


def _mark_rows(marks: Sequence[Mark], chart: Chart) -> list[int]:
    """Return in which row above the plot each label has room, from left to right; -1 if in none."""
    plot = _Plot(chart.x, chart.y, 0)
    ends = [0.0] * _MARK_ROWS
    rows = []
    for mark in marks:
        left, right = _mark_extent(plot, mark)
        row = next((row for row, end in enumerate(ends) if end <= left), -1)
        if row >= 0:
            ends[row] = right
        rows.append(row)
    return rows


def _mark_extent(plot: _Plot, mark: Mark) -> tuple[float, float]:
    """Return where a label begins and ends; it is right of its line if there is room."""
    x, width = plot.at_x(mark.x), _LETTER * len(mark.label) + 8
    return (x, x + width) if x + width < WIDTH else (x - width, x)


def _mark(plot: _Plot, mark: Mark, row: int) -> Iterator[Markup]:
    x, y = plot.at_x(mark.x), _TOP + _MARK_ROW * max(row, 0)
    left, _ = _mark_extent(plot, mark)
    anchor, shift = ("start", 4) if left >= x else ("end", -4)
    parts = [
        element("title", mark.text),
        element("line", x1=x, y1=y - 6, x2=x, y2=plot.bottom),
    ]
    if row >= 0:
        parts.append(_label(x + shift, y + 5, mark.label, anchor))
    yield element("g", *parts, class_=f"mark {mark.kind}")


def _hover(plot: _Plot, hover: Hover) -> Markup:
    left, right = plot.at_x(hover.low), plot.at_x(hover.high)
    return element(
        "rect",
        element("title", hover.text),
        class_="hover",
        x=left,
        y=plot.top,
        width=right - left,
        height=_HEIGHT,
    )


def _bar(row: Bar, place: int, scale: float) -> Markup:
    y = _BAR_ROW * place
    name = printable(row.name, int((_BAR_LEFT - 8) / _LETTER))
    end = _BAR_LEFT + max(row.value, row.high or 0) * scale
    parts = [
        element("title", f"{row.name}: {row.label}"),
        _label(_BAR_LEFT - 8, y + 16, name, "end"),
        element(
            "rect",
            class_=row.kind,
            x=_BAR_LEFT,
            y=y + 4,
            width=row.value * scale,
            height=_BAR_ROW - 8,
        ),
        _label(end + 6, y + 16, row.label, "start"),
    ]
    if row.low is not None and row.high is not None:
        low, high, middle = row.low * scale, row.high * scale, y + _BAR_ROW / 2
        parts.append(
            element(
                "line",
                class_="whisker",
                x1=_BAR_LEFT + low,
                y1=middle,
                x2=_BAR_LEFT + high,
                y2=middle,
            )
        )
    return element("g", *parts)

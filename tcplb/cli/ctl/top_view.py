"""Draws a frame of `tcplb ctl top` with rich. Pure: a frame in, something to print out."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tcplb.cli.ctl.top_frame import Frame, Row, Sort, ordered
from tcplb.cli.ctl.top_text import HEAD, RIGHT, cells, summary
from tcplb.cli.ctl.words import age
from tcplb.loadgen.reports.figures import printable

_STYLES = {
    "up": "green",
    "draining": "yellow",
    "disabled": "yellow",
    "ejected": "yellow",
    "on trial": "yellow",
    "down": "bold red",
    "out": "bold red",
}
_AROUND = 5
"""Lines that are no backend's: the title, the summary, one for trouble, the head, the keys."""
_LEAST = (6, 8, 5, 7, 8, 9, 10, 8)
"""Columns of a terminal, so that the table does not jump with each figure."""
_WIDE = 78
"""Columns of a terminal from which on there is room for all that is known."""
_ONLY_WIDE = ("sent/s", "connect")
_SORTED = {
    Sort.CONNECTIONS: ("open",),
    Sort.RATE: ("new/s",),
    Sort.ERRORS: ("errors/s",),
    Sort.BYTES: ("sent/s", "received/s"),
}
_KEYS = {"c": "connections", "r": "rate", "e": "errors", "b": "bytes", "q": "quit"}


def screen(
    frame: Frame | None, *, where: str, sort: Sort, trouble: str, width: int, height: int
) -> RenderableType:
    """Return the frame for a terminal of that size (columns and lines)."""
    if frame is None:
        waiting = _cut(Text(f" {printable(trouble)}", "bold red"))
        return Group(_title(where, width), waiting)
    room = max(height - _AROUND, 1)
    shown = ordered(frame.rows, sort)[:room]
    return Group(
        _title(where, width, frame, len(shown)),
        _cut(Text(f" {summary(frame)}")),
        _cut(_trouble(frame, trouble)),
        _table(shown, sort, wide=width >= _WIDE),
        *[Text()] * (room - len(shown)),
        _keys(sort),
    )


def _title(where: str, width: int, frame: Frame | None = None, shown: int = 0) -> Text:
    left = Text.assemble((" tcplb top ", "bold reverse"), f"  {printable(where)}  ")
    right = ""
    if frame is not None:
        status = frame.status
        left.append(status.state, "green" if status.state == "serving" else "yellow")
        right = f"{printable(status.version)}, up {age(status.uptime_s)} "
        if shown < len(frame.rows):
            right = f"{shown} of {len(frame.rows)} backends, {right}"
    left.append(right.rjust(max(width - left.cell_len, len(right) + 1)), "dim")
    return _cut(left)


def _trouble(frame: Frame, trouble: str) -> Text:
    if trouble:
        return Text(f" {printable(trouble)}", "bold red")
    if not frame.status.ready:
        return Text(" NOT READY: a pool has no usable backend", "bold red")
    return Text()


def _table(rows: Sequence[Row], sort: Sort, *, wide: bool) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", expand=True)
    columns = [place for place, name in enumerate(HEAD) if wide or name not in _ONLY_WIDE]
    for name, least in ((HEAD[place], _LEAST[place]) for place in columns):
        style = "bold" if name in _SORTED[sort] else "dim"
        first = name == HEAD[0]
        table.add_column(
            f" {name}" if first else name,
            no_wrap=True,
            ratio=1 if first else None,
            min_width=least,
            header_style=style,
            justify="right" if name in RIGHT else "left",
        )
    for row in rows:
        drawn = _cells(row)
        table.add_row(*(drawn[place] for place in columns))
    return table


def _cells(row: Row) -> list[Text]:
    name, state, *figures = cells(row)
    errors = "bold red" if row.errors else ""
    return [
        Text(f" {printable(name)}"),
        Text(state, _STYLES.get(state, "")),
        *(
            Text(figure, errors if column == "errors/s" else "")
            for column, figure in zip(RIGHT, figures, strict=True)
        ),
    ]


def _keys(sort: Sort) -> Text:
    line = Text()
    for key, does in _KEYS.items():
        chosen = key == sort.value
        line.append(f" {key} ", "bold reverse").append(f" {does}  ", "bold" if chosen else "")
    return _cut(line)


def _cut(text: Text) -> Text:
    text.no_wrap = True
    text.overflow = "ellipsis"
    return text

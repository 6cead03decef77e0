"""Draws a picture of the demo with rich. Pure: a picture in, something to print out."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tcplb.demo.plain import try_commands
from tcplb.demo.state import Health, Noted, Picture, Row

BAR = 6
"""Characters of a share of 100 %."""

_HEALTH_STYLES = {Health.UP: "green", Health.EJECTED: "yellow", Health.DOWN: "bold red"}
_LEVEL_STYLES = {"warning": "yellow", "error": "red"}
_WIDE = 78
"""Columns of a terminal from which on there is room for processes and for the shares' bars."""
_LOW = 22
"""Lines of a terminal below which events need the room of what to try."""


def screen(picture: Picture, *, width: int, height: int) -> RenderableType:
    """Return the picture for a terminal of that size (columns and lines)."""
    head: list[RenderableType] = [
        _title(picture, width),
        _table(picture, wide=width >= _WIDE),
        _cut(_counts(picture)),
        _cut(_load(picture)),
    ]
    foot = [*([] if height < _LOW else _what_to_try(picture)), _keys(picture)]
    used = len(head) + len(picture.rows) + len(foot)
    return Group(*head, *_events(picture.events, width, max(height - used, 0)), *foot)


def _title(picture: Picture, width: int) -> Text:
    left = Text.assemble(
        (" tcplb demo ", "bold reverse"), f"  {picture.url}  ", ("strategy ", "dim")
    )
    left.append(picture.strategy, "bold cyan")
    minutes, seconds = divmod(int(picture.running), 60)
    right = f"{minutes}:{seconds:02d}"
    left.append(right.rjust(max(width - left.cell_len, len(right) + 1)), "dim")
    return _cut(left)


def _table(picture: Picture, *, wide: bool) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True, min_width=2)
    table.add_column("backend", no_wrap=True)
    table.add_column("state", no_wrap=True, min_width=7)
    if wide:
        table.add_column("process", no_wrap=True, min_width=18)
    table.add_column("share, 10 s" if wide else "share", no_wrap=True)
    for name, least in (("/s", 6), ("open", 5), ("total", 6)):
        table.add_column(name, no_wrap=True, justify="right", min_width=least)
    for row in picture.rows:
        table.add_row(*_cells(row, wide=wide))
    return table


def _cells(row: Row, *, wide: bool) -> list[Text]:
    filled = round(row.share * BAR)
    bar = Text.assemble(("█" * filled, "cyan"), ("░" * (BAR - filled), "dim"))
    share = Text(f"{row.share:4.0%}")
    why = Text(row.why, "dim" if row.health is Health.UP else "")
    return [
        Text(f" {row.number}", "bold"),
        Text(row.name),
        Text(row.health, _HEALTH_STYLES[row.health]),
        *([why, bar + share] if wide else [share]),
        Text(f"{row.rate:.1f}"),
        Text(f"{row.now}"),
        Text(f"{row.total}"),
    ]


def _counts(picture: Picture) -> Text:
    counts = Text(f" {picture.connections} connections, {picture.retried} sent on to another, ")
    return counts.append(f"{picture.failed} turned away", "bold red" if picture.failed else "")


def _load(picture: Picture) -> Text:
    switch = ("on", "green") if picture.load_on else ("off", "dim")
    load = Text.assemble(" light load ", switch, f": {picture.load_answered} answered, ")
    return load.append(f"{picture.load_errors} errors", "bold red" if picture.load_errors else "")


def _events(events: Sequence[Noted], width: int, room: int) -> list[Text]:
    """Return as many lines as there is room for, with the last events."""
    shown = max(room - 1, 0)
    lines = [line for noted in events[-shown:] for line in _event(noted, width)]
    return [Text(" events", "dim"), *lines[max(len(lines) - shown, 0) :], *[Text()] * room][:room]


def _event(noted: Noted, width: int) -> list[Text]:
    clock = time.strftime(" %H:%M:%S ", time.localtime(noted.at))
    style = _LEVEL_STYLES.get(noted.level, "")
    folded = textwrap.wrap(noted.text, max(width - len(clock), 20), break_on_hyphens=False)
    return [
        _cut(Text.assemble((clock if number == 0 else " " * len(clock), "dim"), (part, style)))
        for number, part in enumerate(folded)
    ]


def _what_to_try(picture: Picture) -> list[Text]:
    return [
        Text(" try, in another terminal", "dim"),
        *(
            _cut(Text.assemble(f"  {command}  ", (shows, "dim")))
            for command, shows in try_commands(picture)[:2]
        ),
    ]


def _keys(picture: Picture) -> Text:
    keys = {
        f"1-{len(picture.rows)}": "kill or revive",
        "s": "strategy",
        "l": "load",
        "q": "quit",
    }
    line = Text()
    for key, does in keys.items():
        line.append(f" {key} ", "bold reverse").append(f" {does}  ")
    return _cut(line)


def _cut(text: Text) -> Text:
    text.no_wrap = True
    text.overflow = "ellipsis"
    return text

"""How the `tcplb ctl` commands write: JSON, tables and facts, and questions on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import click

from tcplb.cli.ctl.connection import Connection
from tcplb.control.admin.client_errors import Model, read
from tcplb.loadgen.reports.figures import printable

_COLOURS = {
    **dict.fromkeys(("up", "ready", "serving", "enabled", "in"), "green"),
    **dict.fromkeys(("draining", "ejected", "on trial", "starting", "disabled"), "yellow"),
    **dict.fromkeys(("down", "out", "not ready"), "red"),
}
"""Of cells that are just such a word, on a terminal."""


def show(
    connection: Connection, text: str, model: type[Model], lines: Callable[[Model], Iterable[str]]
) -> None:
    """Write an answer of the API, as it is or as `lines` has it."""
    if connection.json:
        echo_json(json.loads(text))
    else:
        echo_lines(lines(read(model, text)))


def echo_json(value: Any, *, line: bool = False) -> None:
    """Print JSON, indented or in one `line`. It is ASCII: names in it may be anybody's."""
    click.echo(json.dumps(value, indent=None if line else 2))


def echo_lines(lines: Iterable[str]) -> None:
    """Print lines, in colour if there is a terminal and nobody objects."""
    text = "\n".join(lines)
    click.echo(text, color=False if _is_plain() else None)


def _is_plain() -> bool:
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def note(text: str) -> None:
    """Say something beside the answer."""
    click.echo(text, err=True)


def table(rows: Iterable[Sequence[str]], right: Collection[str] = ()) -> Iterator[str]:
    """Yield the lines of a table, its head first; the columns called `right` are flush right."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    flush_right = [name in right for name in cells[0]]
    for row in cells:
        line = [
            _coloured(cell, cell.rjust(width) if is_right else cell.ljust(width))
            for cell, width, is_right in zip(row, widths, flush_right, strict=True)
        ]
        yield "  ".join(line).rstrip()


def facts(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield a line for each name and what is to be said of it."""
    known = [(name, printable(value)) for name, value in pairs]
    width = max(len(name) for name, _ in known)
    for name, value in known:
        yield f"{name:{width}}  {_coloured(value, value)}".rstrip()


def _coloured(word: str, cell: str) -> str:
    colour = _COLOURS.get(word)
    return cell.replace(word, click.style(word, fg=colour)) if colour else cell


# -- questions --------------------------------------------------------------------------------

yes_option = click.option("--yes", is_flag=True, help="Do it without a question.")


def is_asked(*, yes: bool) -> bool:
    """Whether somebody is there to be asked: all is a terminal, and nobody has said yes before."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return not yes and all(stream is not None and stream.isatty() for stream in streams)


def confirm(question: str) -> None:
    """Ask on the terminal; anything but y and yes ends the command."""
    click.echo(f"{printable(question)} [y/N] ", err=True, nl=False)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise click.ClickException("nothing was changed")

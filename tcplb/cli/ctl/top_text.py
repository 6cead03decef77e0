"""A frame of `tcplb ctl top` as plain text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from tcplb.cli.ctl.output import table
from tcplb.cli.ctl.top_frame import Frame, Row, Sort, ordered
from tcplb.cli.ctl.words import age, clock, limit
from tcplb.loadgen.reports import figures
from tcplb.loadgen.reports.figures import NOTHING, count

HEAD = ("backend", "state", "open", "new/s", "errors/s", "sent/s", "received/s", "connect")
RIGHT = HEAD[2:]


def summary(frame: Frame) -> str:
    """Return what there is to say of the whole balancer."""
    return (
        f"{limit(frame.active, frame.status.max_connections)} connections open, "
        f"{rate(frame.accepted)} new/s, {rate(frame.turned_away)} turned away/s, "
        f"{rate(frame.retries)} retries/s, {count(frame.waiting)} waiting"
    )


def lines(frame: Frame, sort: Sort) -> Iterator[str]:
    """Yield the lines of a frame."""
    status = frame.status
    ready = "" if status.ready else ", NOT READY"
    yield (
        f"{clock(frame.at)}  tcplb {status.version}, {status.state}{ready}, "
        f"up {age(status.uptime_s)}"
    )
    yield summary(frame)
    yield from table([HEAD, *map(cells, ordered(frame.rows, sort))], right=RIGHT)


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a backend, as `HEAD` names them."""
    return (
        f"{row.pool}/{row.name}",
        row.state,
        count(row.active),
        rate(row.connections),
        rate(row.errors),
        _size(row.bytes_up),
        _size(row.bytes_down),
        figures.time(row.connect_ms),
    )


def rate(value: float | None) -> str:
    """Return a rate per second, with one digit behind the point while it is small."""
    if value is None:
        return NOTHING
    return f"{value:,.1f}" if 0 < value < 100 else count(value)


def _size(value: float | None) -> str:
    return NOTHING if value is None else figures.size(value)


def as_json(frame: Frame, sort: Sort) -> dict[str, Any]:
    """Return what docs/ctl.md describes."""
    return {
        "at": frame.at,
        "active": frame.active,
        "waiting": frame.waiting,
        "accepted_per_second": frame.accepted,
        "turned_away_per_second": frame.turned_away,
        "retries_per_second": frame.retries,
        "backends": [_row_as_json(row) for row in ordered(frame.rows, sort)],
    }


def _row_as_json(row: Row) -> dict[str, Any]:
    rates = ("connections", "errors", "bytes_up", "bytes_down")
    named = {name: f"{name}_per_second" for name in rates}
    return {named.get(name, name): value for name, value in asdict(row).items()}

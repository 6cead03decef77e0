"""What `tcplb ctl top` shows at a moment. Pure: two readings of the figures in, rates out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from tcplb.cli.ctl.words import state
from tcplb.control.admin.models import BackendStats, BackendView, Stats, Status

Names = tuple[str, str]
"""Pool and backend."""
Reading = Stats | BackendStats
UNKNOWN = "?"
"""The state of a backend that is so new that only its figures are there."""


class Sort(Enum):
    """By what backends are sorted; the key that chooses it."""

    CONNECTIONS = "c"
    RATE = "r"
    ERRORS = "e"
    BYTES = "b"


@dataclass(frozen=True, slots=True)
class Row:
    """One backend. Rates are per second, and None if there was no earlier reading of it."""

    pool: str
    name: str
    state: str
    active: int
    connections: float | None
    errors: float | None
    bytes_up: float | None
    bytes_down: float | None
    connect_ms: float | None
    """The mean of the dials that connected in between; None if there were none."""


@dataclass(frozen=True, slots=True)
class Frame:
    """All backends, and the balancer as a whole; rates as in `Row`."""

    at: float
    status: Status
    active: int
    waiting: int
    accepted: float | None
    turned_away: float | None
    retries: float | None
    rows: tuple[Row, ...]


def to_frame(
    before: Stats | None, now: Stats, status: Status, views: Mapping[Names, BackendView]
) -> Frame:
    """Return the frame for `now`, with the rates since `before`."""
    seconds = 0.0 if before is None else now.at - before.at
    known = {(each.pool, each.name): each for each in before.backends} if before else {}
    rows = (
        _row(known.get((each.pool, each.name)), each, seconds, views.get((each.pool, each.name)))
        for each in now.backends
    )
    return Frame(
        at=now.at,
        status=status,
        active=now.active,
        waiting=now.waiting,
        accepted=_rate("accepted", before, now, seconds),
        turned_away=_rate("turned_away", before, now, seconds),
        retries=_rate("retries", before, now, seconds),
        rows=tuple(rows),
    )


def _row(
    before: BackendStats | None, now: BackendStats, seconds: float, view: BackendView | None
) -> Row:
    return Row(
        pool=now.pool,
        name=now.name,
        state=UNKNOWN if view is None else state(view),
        active=now.active,
        connections=_rate("connections", before, now, seconds),
        errors=_rate("connect_failures", before, now, seconds),
        bytes_up=_rate("bytes_up", before, now, seconds),
        bytes_down=_rate("bytes_down", before, now, seconds),
        connect_ms=_mean_ms(before, now),
    )


_SHORTEST = 0.001
"""Seconds between two readings below which they say nothing of a rate."""


def _rate(figure: str, before: Reading | None, now: Reading, seconds: float) -> float | None:
    """Return the growth of a figure; what is smaller than it was has begun anew."""
    if before is None or seconds < _SHORTEST:
        return None
    growth: int = getattr(now, figure) - getattr(before, figure)
    return growth / seconds if growth >= 0 else None


def _mean_ms(before: BackendStats | None, now: BackendStats) -> float | None:
    if before is None or now.connections <= before.connections:
        return None
    spent = now.connect_seconds - before.connect_seconds
    return max(spent, 0.0) * 1000 / (now.connections - before.connections)


def ordered(rows: Sequence[Row], sort: Sort) -> list[Row]:
    """Return the rows with the most of what is sorted by first, and else by name."""
    return sorted(rows, key=lambda row: (-_amount(row, sort), row.pool, row.name))


def _amount(row: Row, sort: Sort) -> float:
    match sort:
        case Sort.CONNECTIONS:
            return row.active
        case Sort.RATE:
            return row.connections or 0.0
        case Sort.ERRORS:
            return row.errors or 0.0
        case Sort.BYTES:
            return (row.bytes_up or 0.0) + (row.bytes_down or 0.0)

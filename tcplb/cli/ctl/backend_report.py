"""The answers about pools and backends as text."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from tcplb.cli.ctl.output import facts, table
from tcplb.cli.ctl.words import age, clock, limit, octets, state
from tcplb.control.admin.models import BackendView, DrainView, Pools
from tcplb.loadgen.reports import figures
from tcplb.loadgen.reports.figures import NOTHING, count, percent, plural

_POOL = ("pool", "strategy", "usable", "active", "waiting", "fingerprint")
_BACKEND = (
    *("pool", "backend", "address", "state", "weight", "active", "total", "failed", "sent"),
    *("received", "why"),
)
_FIGURES = ("usable", "weight", "active", "waiting", "total", "failed", "sent", "received")


def pools_lines(pools: Pools) -> Iterator[str]:
    """Yield a line for each pool."""
    rows = [
        (
            pool.name,
            pool.strategy,
            f"{pool.usable}/{len(pool.backends)}",
            count(pool.active),
            count(pool.waiting),
            pool.fingerprint if pool.keyed else NOTHING,
        )
        for pool in pools.pools
    ]
    yield from table([_POOL, *rows], right=_FIGURES)


def backends_lines(backends: Iterable[BackendView]) -> Iterator[str]:
    """Yield a line for each backend."""
    yield from table([_BACKEND, *map(_row, backends)], right=_FIGURES)


def _row(backend: BackendView) -> tuple[str, ...]:
    return (
        backend.pool,
        backend.name,
        backend.address,
        state(backend),
        f"{backend.weight} ({percent(backend.weight_share)})",
        limit(backend.active, backend.max_connections),
        count(backend.connections),
        count(backend.connect_failures),
        octets(backend.bytes_up),
        octets(backend.bytes_down),
        "" if backend.usable else backend.why,
    )


def backend_lines(backend: BackendView) -> Iterator[str]:
    """Yield all about one backend."""
    yield from facts(_facts(backend))


def _facts(backend: BackendView) -> Iterator[tuple[str, str]]:
    yield "backend", f"{backend.pool}/{backend.name}"
    yield "address", backend.address
    yield "state", state(backend)
    yield "why", backend.why
    yield "since", clock(backend.since_at)
    yield "mode", backend.mode
    yield "checks", backend.checked
    yield "ejection", _ejection(backend)
    if backend.drain is not None:
        yield "drain", drain_in_words(backend.drain, now=time.time())
    share = f"{percent(backend.weight_share)} of its tier's"
    yield "weight", f"{backend.weight}, {share}; tier {backend.tier}"
    yield "connections", f"{limit(backend.active, backend.max_connections)} open"
    yield (
        "dials",
        (
            f"{count(backend.connections)} connected in {_mean_time(backend)} on average, "
            f"{count(backend.connect_failures)} failed"
        ),
    )
    yield "bytes", f"{octets(backend.bytes_up)} sent, {octets(backend.bytes_down)} received"
    for change in backend.changes:
        yield "changed", change


def _ejection(backend: BackendView) -> str:
    until = backend.ejected_until_at
    ends = f" until {clock(until)}" if until is not None else ""
    return f"{backend.passive}{ends}; {plural(backend.ejections, 'ejection')} so far"


def _mean_time(backend: BackendView) -> str:
    if not backend.connections:
        return NOTHING
    return figures.time(backend.connect_seconds / backend.connections * 1000)


def drain_in_words(drain: DrainView, *, now: float) -> str:
    """Return how far a drain has come; `now` is in seconds since the epoch."""
    parts = [f"{plural(drain.sessions_left, 'connection')} left"]
    if drain.oldest_age_s is not None:
        parts.append(f"the oldest one's age is {age(drain.oldest_age_s)}")
    if drain.deadline_at is not None:
        parts.append(f"closed in {age(drain.deadline_at - now)}")
    return ", ".join(parts)

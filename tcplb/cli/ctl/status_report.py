"""The answer of `tcplb ctl status` as text."""

from __future__ import annotations

from collections.abc import Iterator

from tcplb.cli.ctl.output import facts, table
from tcplb.cli.ctl.words import age, clock, limit
from tcplb.control.admin.models import ListenerView, Status, WorkerView
from tcplb.loadgen.reports.figures import NOTHING, count, plural, time


def status_lines(status: Status) -> Iterator[str]:
    """Yield the lines for a person to read."""
    yield from facts(_facts(status))
    yield ""
    yield from table([_WORKER, *map(_worker, status.workers)], right=(*_WORKER[:2], *_WORKER[3:]))
    yield ""
    yield from table(
        [_LISTENER, *map(_listener, status.listeners)], right=("active", "accepted", "refused")
    )


def _facts(status: Status) -> Iterator[tuple[str, str]]:
    ready = "ready" if status.ready else "NOT READY: a pool has no usable backend"
    yield "tcplb", f"{status.version}, pid {status.pid}, up {age(status.uptime_s)}"
    yield "state", f"{status.state}, {ready}"
    changes = f", {plural(status.runtime_changes, 'runtime change')}"
    yield "config", f"{status.config_file or 'no file'}{changes if status.runtime_changes else ''}"
    yield "connections", limit(status.active, status.max_connections)
    reloads = status.reloads
    last = f", the last one at {clock(reloads.last_at)}" if reloads.last_at else ""
    yield "reloads", f"{count(reloads.succeeded)} succeeded, {count(reloads.failed)} failed{last}"
    if reloads.last_error:
        first, *others = reloads.last_error.splitlines()
        yield "last error", first
        yield from (("", line) for line in others)


_WORKER = ("worker", "pid", "state", "active", "heartbeat", "loop lag", "open files")


def _worker(worker: WorkerView) -> tuple[str, ...]:
    return (
        str(worker.number),
        NOTHING if worker.pid is None else str(worker.pid),
        worker.state,
        count(worker.active),
        NOTHING if worker.heartbeat_age_s is None else time(worker.heartbeat_age_s * 1000),
        time(worker.loop_lag_s * 1000),
        limit(worker.open_files, worker.max_open_files),
    )


_LISTENER = ("listener", "address", "pool", "active", "accepted", "refused", "why")


def _listener(listener: ListenerView) -> tuple[str, ...]:
    reasons = (f"{why} {count(times)}" for why, times in listener.refused.items() if times)
    return (
        listener.name,
        ", ".join(listener.addresses) or listener.bind,
        listener.pool,
        limit(listener.active, listener.max_connections),
        count(listener.accepted),
        count(sum(listener.refused.values())),
        ", ".join(reasons),
    )

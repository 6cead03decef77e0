"""The metrics of connections: how many, how they ended, how long they took, and who got none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tcplb.control.metrics_text import Family, labels
from tcplb.control.plan import ListenerPlan, Plan
from tcplb.control.scoreboard import Scoreboard
from tcplb.dataplane.counters import CONNECT_BOUNDS, SESSION_BOUNDS, RouteCounters
from tcplb.dataplane.termination import Termination

_NO_BACKEND = ""
_ENDS = tuple(
    (number, labels(termination=each.code, reason=each.name.lower()))
    for number, each in enumerate(Termination)
)
"""What each termination is called. Some share a code, so the reason tells them apart."""
_REFUSALS = tuple(
    (each.number, each.name.lower())
    for each in Termination
    if each.without_backend or each in {Termination.DENIED, Termination.TOO_FAST}
)


def traffic_metrics(plan: Plan, board: Scoreboard) -> Sequence[Family]:
    """Return what the workers have counted by listener, pool and backend."""
    traffic = _Traffic()
    backends = {pool.name: [backend.name for backend in pool.backends] for pool in plan.pools}
    for listener in plan.listeners:
        for backend, route in _routes(listener, backends[listener.pool]):
            where = labels(listener=listener.name, pool=listener.pool, backend=backend)
            totals = board.route_totals(route)
            traffic.add_ends(where, totals)
            if backend != _NO_BACKEND or _has_dialled(totals):
                traffic.add_dials(where, totals)
            if backend == _NO_BACKEND:
                traffic.add_refusals(listener.name, totals)
        traffic.active.add(board.listener_active(listener.number), labels(listener=listener.name))
    return traffic.families


def _routes(listener: ListenerPlan, backends: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield the backend and the number of each route; that of sessions without one is last."""
    yield from zip(backends, listener.routes, strict=True)
    yield _NO_BACKEND, listener.unrouted


def _has_dialled(totals: RouteCounters) -> bool:
    # Sessions count here what they do with a backend that their listener's pool has no more.
    return bool(totals.connections or totals.connect_failures or totals.retries)


class _Traffic:
    """The metrics, while they are filled in route by route."""

    def __init__(self) -> None:
        self.ended = Family(
            "tcplb_connections_total",
            "counter",
            "Connections that have ended, by how. backend is empty for those that got none.",
        )
        self.active = Family(
            "tcplb_listener_connections_active",
            "gauge",
            "Connections that are open now, by the listener that accepted them.",
        )
        self.bytes = Family(
            "tcplb_bytes_total",
            "counter",
            "Bytes of connections that have ended: up to the backend, down to the client.",
        )
        self.connects = Family(
            "tcplb_connect_duration_seconds",
            "histogram",
            "How long it took to connect to a backend, of the dials that did.",
        )
        self.failures = Family(
            "tcplb_connect_failures_total", "counter", "Dials that did not connect."
        )
        self.retries = Family(
            "tcplb_retries_total", "counter", "Dials that were not the first of their connection."
        )
        self.sessions = Family(
            "tcplb_session_duration_seconds",
            "histogram",
            "How long connections were open, from accept to end, of those that have ended.",
        )
        self.refused = Family(
            "tcplb_refused_total",
            "counter",
            "Clients that were refused or turned away without a backend, by why.",
        )

    @property
    def families(self) -> Sequence[Family]:
        """All of them, in the order of the page."""
        return (
            self.ended,
            self.active,
            self.bytes,
            self.connects,
            self.failures,
            self.retries,
            self.sessions,
            self.refused,
        )

    def add_ends(self, where: str, totals: RouteCounters) -> None:
        """Add how sessions ended. Most ways to end never happen; only "--" is shown at 0."""
        for count, (number, end) in zip(totals.terminations, _ENDS, strict=True):
            if count or number == Termination.NORMAL.number:
                self.ended.add(count, f"{where},{end}")
        seconds = totals.session_seconds
        self.sessions.add_histogram(SESSION_BOUNDS, totals.session_buckets, seconds, where)

    def add_dials(self, where: str, totals: RouteCounters) -> None:
        """Add what sessions had to do with a backend."""
        self.bytes.add(totals.bytes_up, f'{where},direction="up"')
        self.bytes.add(totals.bytes_down, f'{where},direction="down"')
        seconds = totals.connect_seconds
        self.connects.add_histogram(CONNECT_BOUNDS, totals.connect_buckets, seconds, where)
        self.failures.add(totals.connect_failures, where)
        self.retries.add(totals.retries, where)

    def add_refusals(self, listener: str, totals: RouteCounters) -> None:
        """Add all reasons, those that never were as well: a rise from nothing shows no rate."""
        for number, reason in _REFUSALS:
            self.refused.add(totals.terminations[number], labels(listener=listener, reason=reason))

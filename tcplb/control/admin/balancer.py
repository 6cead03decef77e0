"""The balancer as the admin port sees it: reads what is there, and passes on what is to be done."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network

from tcplb.config.changes import RuntimeChange
from tcplb.config.difference import Change
from tcplb.config.keypath import format_path
from tcplb.config.runtime_change import AddBackend, target_of
from tcplb.config.wording import one_of
from tcplb.control.admin.control import NotFoundError
from tcplb.control.admin.explaining import explain
from tcplb.control.admin.models import (
    Applied,
    ChangeView,
    ConfigDifference,
    ConfigView,
    Ended,
    EventView,
    Explanation,
    PoolView,
    Saved,
    Sessions,
    SessionView,
    Stats,
    Status,
)
from tcplb.control.admin.views import Views
from tcplb.control.configuration import Proposal
from tcplb.control.inquiries import (
    CloseSession,
    Found,
    ListSessions,
    SessionFacts,
    SessionFilter,
    TapFilter,
)
from tcplb.control.operator import Operator
from tcplb.control.serving import Serving
from tcplb.control.taps import Told
from tcplb.dataplane.record import to_fields

_SESSION = re.compile(r"(?P<worker>[0-9]{1,9})-(?P<number>[0-9]{1,18})")
_AT_A_TIME = 100
"""Connections that are made ready to be shown before others have their turn."""


class Balancer:
    """The `admin.control.Control` of what is being served."""

    def __init__(
        self,
        serving: Serving,
        operator: Operator,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._serving = serving
        self._operator = operator
        self._clock = clock
        self.views = Views(serving, operator)
        self._stats: Stats | None = None
        self._stats_at = 0.0

    # -- look ---------------------------------------------------------------------------------

    def status(self) -> Status:
        """Return how the balancer is."""
        return self.views.status()

    def why_not_ready(self) -> str:
        """Return why no connections should be sent here now, in words; nothing if they should."""
        return self.views.why_not_ready()

    def pools(self) -> list[PoolView]:
        """Return all pools with their backends."""
        return self.views.pools()

    def stats(self, *, max_age: float = 0.0) -> Stats:
        """Return the figures of this moment, or some that are at most `max_age` seconds old."""
        now = self._clock()
        if self._stats is None or now - self._stats_at > max_age:
            self._stats, self._stats_at = self.views.stats(), now
        return self._stats

    def events(self, after: int) -> list[EventView]:
        """Return the events after that number which are still known, the oldest first."""
        return [
            EventView(
                number=event.number,
                at=event.at,
                kind=event.kind,
                pool=event.pool,
                backend=event.backend,
                text=event.text,
            )
            for event in self._serving.events.after(after)
        ]

    async def next_event(self, after: int) -> None:
        """Wait until there is an event after that number."""
        await self._serving.events.wait(after)

    def config(self) -> ConfigView:
        """Return the configuration in force."""
        configuration = self._operator.configuration
        origins = configuration.settings.origins
        return ConfigView(
            file=configuration.file_name,
            loaded_at=configuration.loaded_at,
            config=configuration.config.model_dump(mode="json"),
            origins={
                format_path(p): origin for p, origin in origins.items() if origin != "default"
            },
        )

    def config_difference(self) -> ConfigDifference:
        """Return the runtime changes against the file."""
        configuration = self._operator.configuration
        return ConfigDifference(
            changes=[_view(change) for change in configuration.runtime_difference()],
            runtime_changes=[str(change) for change in configuration.changes],
        )

    def explain(self, pool: str | None, client: str | None, first_line: str | None) -> Explanation:
        """Return which backend a connection would get. Raises NotFoundError and ValueError."""
        return explain(self._serving, pool, client, first_line)

    # -- sessions -----------------------------------------------------------------------------

    async def sessions(self, wanted: SessionFilter, cursor: str | None, limit: int) -> Sessions:
        """Return a page of open sessions. Raises ValueError for a cursor or client that is none."""
        if wanted.client is not None:
            ip_network(wanted.client, strict=False)
        after = None if cursor is None else _parse_cursor(cursor)
        asked = self._serving.crew.able
        answers = await self._serving.crew.ask(ListSessions(wanted, after, limit + 1), asked)
        found = {slot: each for slot, each in answers.items() if isinstance(each, Found)}
        everywhere = [(slot, one) for slot, each in found.items() for one in each.sessions]
        everywhere.sort(key=lambda entry: (entry[1].accepted_at, entry[1].number, entry[0]))
        page, now = everywhere[:limit], time.time()
        return Sessions(
            sessions=[_session(slot, one, now) for slot, one in page],
            total=sum(each.total for each in found.values()),
            next=_cursor(page[-1][1]) if page and len(everywhere) > limit else None,
            unanswered=[slot + 1 for slot in asked if slot not in found],
        )

    async def close_session(self, session: str) -> None:
        """Close an open session with a reset. Raises NotFoundError."""
        match = _SESSION.fullmatch(session)
        if match is not None:
            slot = int(match["worker"]) - 1
            answers = await self._serving.crew.ask(CloseSession(int(match["number"])), [slot])
            if answers.get(slot):
                return
        raise NotFoundError(f"there is no open session {session}")

    @contextmanager
    def tap(self, wanted: TapFilter) -> Iterator[AsyncIterator[list[Ended]]]:
        """Return the connections that end from now on, some at a time."""
        with self._serving.crew.taps.watch(wanted) as told:
            yield _ended(told)

    # -- do -----------------------------------------------------------------------------------

    async def reload(self, *, dry_run: bool, discard_changes: bool) -> Applied:
        """Reload the file. Raises ConfigError if it is wrong; BindError; nothing changes then."""
        proposal = await self._operator.reload(dry_run=dry_run, discard_changes=discard_changes)
        return _applied(proposal, applied=not dry_run)

    async def change(self, change: RuntimeChange, *, timeout: float | None = None) -> Applied:
        """Make a runtime change; `timeout` (seconds) is that of a drain.

        Raises ChangeError, or NotFoundError if what it is about does not exist.
        """
        pools = self._serving.config.pools
        pool, backend = target_of(change)
        if pool not in pools:
            raise NotFoundError(f"pool {one_of(list(pools), pool)}")
        names = [each.name for each in pools[pool].backends]
        if backend not in names and not isinstance(change, AddBackend):
            raise NotFoundError(f"backend {one_of(names, backend)}")
        return _applied(await self._operator.change(change, timeout=timeout), applied=True)

    async def save(self) -> Saved:
        """Write the runtime changes into the file. Raises ConfigError or ChangeError."""
        saved = await self._operator.save()
        return Saved(file=str(self._operator.configuration.source.file), changes=saved)


def _view(change: Change) -> ChangeView:
    return ChangeView(
        kind=change.kind,
        path=change.path,
        before=change.before,
        after=change.after,
        needs_restart=change.reason or None,
        text=str(change),
    )


def _applied(proposal: Proposal, *, applied: bool) -> Applied:
    return Applied(
        applied=applied,
        changes=[_view(change) for change in proposal.difference],
        notes=list(proposal.notes),
    )


def _session(slot: int, facts: SessionFacts, now: float) -> SessionView:
    host = f"[{facts.client_host}]" if ":" in facts.client_host else facts.client_host
    return SessionView(
        id=f"{slot + 1}-{facts.number}",
        client=f"{host}:{facts.client_port}",
        listener=facts.listener,
        pool=facts.pool,
        backend=facts.backend,
        phase=facts.phase,
        age_s=max(0.0, now - facts.accepted_at),
        bytes_up=facts.bytes_up,
        bytes_down=facts.bytes_down,
        key=facts.key.decode(errors="backslashreplace"),
    )


def _cursor(facts: SessionFacts) -> str:
    return f"{facts.accepted_at!r}-{facts.number}"


def _parse_cursor(cursor: str) -> tuple[float, int]:
    at, _, number = cursor.rpartition("-")
    try:
        return float(at), int(number)
    except ValueError:
        raise ValueError("the cursor is not one that a page has given") from None


async def _ended(told: AsyncIterator[Told]) -> AsyncIterator[list[Ended]]:
    lost = 0
    async for each in told:
        for start in range(0, len(each.records), _AT_A_TIME):
            some = each.records[start : start + _AT_A_TIME]
            yield [
                Ended(worker=worker, record=to_fields(record), lost=0 if place else lost)
                for place, (worker, record) in enumerate(some)
            ]
            lost = 0
        lost = each.lost

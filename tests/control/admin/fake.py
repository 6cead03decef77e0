"""A small balancer in memory: what the admin port's server, page and client are tested against.

By hand, with figures that move each second::

    python -m tests.control.admin.fake --port 9191 [--token SECRET] [--backends 1000]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from tcplb.config.admin import AdminConfig
from tcplb.config.changes import AddBackend, RemoveBackend, RuntimeChange, SetState, SetWeight
from tcplb.config.pools import BackendConfig
from tcplb.control.admin.control import NotFoundError, SessionFilter, TapFilter
from tcplb.control.admin.models import (
    Applied,
    BackendStats,
    BackendView,
    CandidateView,
    ChangeView,
    ConfigDifference,
    ConfigView,
    DrainView,
    Ended,
    EventView,
    Explanation,
    ListenerView,
    PoolView,
    ReloadsView,
    Saved,
    Sessions,
    SessionView,
    Stats,
    Status,
    WorkerView,
)
from tcplb.control.admin.server import AdminServer
from tcplb.errors import ChangeError, TcplbError

START = 1_700_000_000.0
KNOWN_EVENTS = 1000
WAITING_TO_BE_READ = 1000
FIRST_SESSIONS = 12

type_of_event = Literal["health", "operator", "reload", "worker", "server"]


@dataclass(slots=True)
class FakeBackend:
    """A backend; tests set what they like."""

    pool: str
    name: str
    address: str
    weight: int = 1
    tier: int = 0
    max_connections: int = 0
    mode: Literal["enabled", "draining", "disabled"] = "enabled"
    checked: Literal["up", "down", "not checked"] = "up"
    passive: Literal["in", "ejected", "on trial"] = "in"
    since_at: float | None = None
    ejected_until_at: float | None = None
    active: int = 0
    connections: int = 0
    connect_failures: int = 0
    ejections: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    connect_seconds: float = 0.0
    changes: list[str] = field(default_factory=list)
    drain_until_at: float | None = None

    @property
    def usable(self) -> bool:
        return self.mode == "enabled" and self.checked != "down" and self.passive != "ejected"

    @property
    def why(self) -> str:
        if self.mode != "enabled":
            return f"the operator has set it to {self.mode}"
        if self.passive == "ejected":
            return "ejected: 3 connects in a row have failed (refused)"
        if self.checked == "down":
            return "its checks fail: connection refused"
        return "usable"

    def stats(self) -> BackendStats:
        return BackendStats(
            pool=self.pool,
            name=self.name,
            active=self.active,
            connections=self.connections,
            connect_failures=self.connect_failures,
            bytes_up=self.bytes_up,
            bytes_down=self.bytes_down,
            connect_seconds=self.connect_seconds,
        )

    def drain(self) -> DrainView | None:
        if self.mode != "draining":
            return None
        return DrainView(
            since_at=self.since_at or START,
            sessions_left=self.active,
            oldest_age_s=None,
            deadline_at=self.drain_until_at,
        )

    def view(self, weight_of_tier: int) -> BackendView:
        share = self.weight / weight_of_tier if weight_of_tier else 0.0
        return BackendView(
            **self.stats().model_dump(),
            address=self.address,
            weight=self.weight,
            weight_share=share,
            tier=self.tier,
            max_connections=self.max_connections,
            mode=self.mode,
            checked=self.checked,
            passive=self.passive,
            usable=self.usable,
            why=self.why,
            since_at=self.since_at,
            ejected_until_at=self.ejected_until_at,
            ejections=self.ejections,
            changes=self.changes,
            drain=self.drain(),
        )


class FakeControl:
    """A `Control` of two pools: web, keyed, with 4 backends or more, and db with 2."""

    def __init__(self, *, backends: int = 4, seed: int = 1) -> None:
        web = [
            FakeBackend("web", f"b{n}", f"127.0.{n // 250}.{n % 250 + 1}:8080")
            for n in range(1, backends + 1)
        ]
        db = [FakeBackend("db", f"[::1]:{port}", f"[::1]:{port}") for port in (5432, 5433)]
        self.by_pool: dict[str, dict[str, FakeBackend]] = {
            "web": {each.name: each for each in web},
            "db": {each.name: each for each in db},
        }
        self.now = START
        self.state: Literal["starting", "serving", "draining"] = "serving"
        self.accepted = 0
        self.retries = 0
        self.turned_away = 0
        self.waiting = 0
        self.file: str | None = "/etc/tcplb/tcplb.toml"
        self.reload_error: Exception | None = None
        """What the next reload raises."""
        self.save_error: TcplbError | None = None
        self.status_error: Exception | None = None
        """What asking for the status raises: a bug of the balancer's."""
        self.on_look: Callable[[], object] = lambda: None
        """Is called when the pools are asked for, which may take a while."""
        self.reload_gate: asyncio.Event | None = None
        """What a reload waits for."""
        self.reload_begun = asyncio.Event()
        self.reloads: list[dict[str, bool]] = []
        self.reloads_failed = 0
        self.last_reload_error: str | None = None
        self.changed: list[tuple[RuntimeChange, float | None]] = []
        self.closed: list[str] = []
        self.open_sessions: dict[str, SessionView] = {}
        self.unanswered: list[int] = []
        self.known_stats: Stats | None = None
        """What who does not need the very latest figures gets, if it is there."""
        self.stats_asked = 0
        self.taps: list[tuple[TapFilter, asyncio.Queue[Ended]]] = []
        self._events: deque[EventView] = deque(maxlen=KNOWN_EVENTS)
        self._last_event = 0
        self._news = asyncio.Event()
        self._random = Random(seed)
        self._last_session = 0
        self.event("server", "tcplb is serving")
        for _ in range(FIRST_SESSIONS):
            self._open_session()

    # -- what a test tells it ---------------------------------------------------------------

    def advance(self, seconds: float = 1.0) -> None:
        """Let time pass: the figures move, sessions come and go, backends fail and recover."""
        self.now += seconds
        for backend in self.all_backends():
            self._move(backend, seconds)
        self._open_session()
        if len(self.open_sessions) > FIRST_SESSIONS:
            self.end_session(next(iter(self.open_sessions)))
        if self._random.random() < 0.1:
            self._flip(self._random.choice(self.all_backends()))

    def event(
        self,
        kind: type_of_event,
        text: str,
        pool: str | None = None,
        backend: str | None = None,
    ) -> None:
        """Let something happen."""
        self._last_event += 1
        self._events.append(
            EventView(
                number=self._last_event,
                at=self.now,
                kind=kind,
                pool=pool,
                backend=backend,
                text=text,
            )
        )
        self._news.set()
        self._news = asyncio.Event()

    def end_session(self, session: str, termination: str = "--") -> None:
        """Let an open connection end, and tell the taps."""
        view = self.open_sessions.pop(session)
        self.end(
            {
                "time": self.now,
                "client": view.client,
                "listener": view.listener,
                "pool": view.pool,
                "backend": view.backend,
                "termination": termination,
                "seconds": view.age_s,
                "bytes_up": view.bytes_up,
                "bytes_down": view.bytes_down,
            }
        )

    def end(self, record: dict[str, Any], *, lost: int = 0) -> None:
        """Tell the taps that a connection has ended, and that so many were `lost` before it."""
        for wanted, queue in self.taps:
            if _is_wanted(wanted, record) and not queue.full():
                queue.put_nowait(Ended(worker=1, record=record, lost=lost))

    def all_backends(self) -> list[FakeBackend]:
        return [each for pool in self.by_pool.values() for each in pool.values()]

    def _move(self, backend: FakeBackend, seconds: float) -> None:
        if not backend.usable:
            backend.active = max(0, backend.active - 1)
            return
        new = self._random.randrange(0, int(40 * seconds) + 2)
        self.accepted += new
        backend.connections += new
        backend.connect_seconds += new * self._random.uniform(0.0002, 0.002)
        backend.bytes_up += new * self._random.randrange(200, 2_000)
        backend.bytes_down += new * self._random.randrange(2_000, 200_000)
        backend.active = max(0, backend.active + self._random.randrange(-3, 4))

    def _flip(self, backend: FakeBackend) -> None:
        if backend.passive == "in":
            backend.passive, backend.ejected_until_at = "ejected", self.now + 5
            backend.ejections += 1
            backend.connect_failures += 3
        else:
            backend.passive, backend.ejected_until_at = "in", None
        backend.since_at = self.now
        word = "ejected for 5s" if backend.passive == "ejected" else "back in"
        text = f"backend {backend.name} of pool {backend.pool} is {word}"
        self.event("health", text, backend.pool, backend.name)

    def _open_session(self) -> None:
        self._last_session += 1
        backend = self._random.choice(self.all_backends())
        session = f"1-{self._last_session}"
        self.open_sessions[session] = SessionView(
            id=session,
            client=f"10.0.{self._last_session % 200}.7:{40000 + self._last_session % 20000}",
            listener="web" if backend.pool == "web" else "db",
            pool=backend.pool,
            backend=backend.name,
            phase="data",
            age_s=0.0,
            bytes_up=self._random.randrange(1_000),
            bytes_down=self._random.randrange(100_000),
            key=f"/item/{self._last_session}",
        )

    # -- Control ----------------------------------------------------------------------------

    def status(self) -> Status:
        if self.status_error:
            raise self.status_error
        return Status(
            version="0.0.0",
            pid=4711,
            state=self.state,
            ready=not self.why_not_ready(),
            started_at=START,
            uptime_s=self.now - START,
            config_file=self.file,
            runtime_changes=len(self.changed),
            active=sum(each.active for each in self.all_backends()),
            max_connections=10_000,
            reloads=ReloadsView(
                succeeded=len(self.reloads),
                failed=self.reloads_failed,
                last_at=None,
                last_error=self.last_reload_error,
            ),
            workers=[self._worker(1), self._worker(2)],
            listeners=[self._listener("web", 9090), self._listener("db", 5432)],
        )

    def why_not_ready(self) -> str:
        if self.state != "serving":
            return self.state
        usable = all(any(b.usable for b in pool.values()) for pool in self.by_pool.values())
        return "" if usable else "a pool has no usable backend"

    def _worker(self, number: int) -> WorkerView:
        return WorkerView(
            number=number,
            pid=5000 + number,
            state="ready",
            active=sum(each.active for each in self.all_backends()) // 2,
            heartbeat_age_s=0.4,
            loop_lag_s=0.001,
            open_files=60,
            max_open_files=20_000,
        )

    def _listener(self, pool: str, port: int) -> ListenerView:
        return ListenerView(
            name=pool,
            bind=f"127.0.0.1:{port}",
            addresses=[f"127.0.0.1:{port}"],
            pool=pool,
            active=sum(each.active for each in self.by_pool[pool].values()),
            accepted=sum(each.connections for each in self.by_pool[pool].values()),
            refused={"access": 0, "rate": 0},
            max_connections=0,
        )

    def pools(self) -> list[PoolView]:
        self.on_look()
        return [self._pool(name) for name in self.by_pool]

    def _pool(self, name: str) -> PoolView:
        members = list(self.by_pool[name].values())
        keyed = name == "web"
        weight = sum(each.weight for each in members)
        views = [each.view(weight) for each in members]
        placed = ",".join(f"{each.name}={each.weight}" for each in members)
        return PoolView(
            name=name,
            strategy="hash" if keyed else "least-connections",
            keyed=keyed,
            usable=sum(each.usable for each in members),
            active=sum(each.active for each in members),
            waiting=self.waiting,
            fingerprint=f"{zlib.crc32(placed.encode()):08x}",
            shares={each.name: each.weight_share for each in views} if keyed else None,
            backends=views,
        )

    def stats(self, *, max_age: float = 0.0) -> Stats:
        self.stats_asked += 1
        if max_age and self.known_stats is not None:
            return self.known_stats
        backends = [each.stats() for each in self.all_backends()]
        return Stats(
            at=self.now,
            active=sum(each.active for each in backends) + self.waiting,
            accepted=self.accepted,
            turned_away=self.turned_away,
            waiting=self.waiting,
            retries=self.retries,
            backends=backends,
        )

    def events(self, after: int) -> list[EventView]:
        return [event for event in self._events if event.number > after]

    async def next_event(self, after: int) -> None:
        while self._last_event <= after:
            await self._news.wait()

    async def sessions(self, wanted: SessionFilter, cursor: str | None, limit: int) -> Sessions:
        if cursor is not None and not (cursor.isascii() and cursor.isdecimal()):
            raise ValueError("the cursor must be one that a page before has given")
        start = min(int(cursor[:18]), 10**9) if cursor else 0
        found = [
            each
            for each in self.open_sessions.values()
            if _is_wanted(wanted, each.model_dump(exclude={"id"}))
        ]
        page = found[start : start + limit]
        end = start + limit
        return Sessions(
            sessions=page,
            total=len(found),
            next=str(end) if end < len(found) else None,
            unanswered=self.unanswered,
        )

    async def close_session(self, session: str) -> None:
        if session not in self.open_sessions:
            raise NotFoundError(f"there is no open session {session}")
        self.closed.append(session)
        self.end_session(session, "K-")

    def tap(
        self, wanted: TapFilter
    ) -> contextlib.AbstractContextManager[AsyncIterator[list[Ended]]]:
        return self._tap(wanted)

    @contextlib.contextmanager
    def _tap(self, wanted: TapFilter) -> Iterator[AsyncIterator[list[Ended]]]:
        queue: asyncio.Queue[Ended] = asyncio.Queue(WAITING_TO_BE_READ)
        self.taps.append((wanted, queue))
        try:
            yield _read(queue)
        finally:
            self.taps.remove((wanted, queue))

    def config(self) -> ConfigView:
        return ConfigView(
            file=self.file,
            loaded_at=START,
            config={"workers": 2, "pools": {"web": {"strategy": "hash"}}},
            origins={"workers": "--workers", "pools.web.strategy": "tcplb.toml:7"},
        )

    def config_difference(self) -> ConfigDifference:
        return ConfigDifference(
            changes=[_change_view(change) for change, _ in self.changed],
            runtime_changes=[str(change) for change, _ in self.changed],
        )

    def explain(self, pool: str | None, client: str | None, first_line: str | None) -> Explanation:
        members = list(self._members(pool or "web").values())
        if client is not None:
            ipaddress.ip_address(client)
        key = first_line or client or "127.0.0.1"
        first = zlib.crc32(key.encode("utf-8", "surrogateescape")) % len(members)
        order = members[first:] + members[:first]
        chosen = next((each for each in order if each.usable), None)
        return Explanation(
            pool=pool or "web",
            key=key,
            key_from="the first line" if first_line else "the client's address",
            chosen=chosen.name if chosen else None,
            stage="usable backends",
            trial=False,
            candidates=[
                CandidateView(
                    backend=each.name,
                    tier=each.tier,
                    rank=rank,
                    verdict="chosen" if each is chosen else each.why,
                    active=each.active,
                )
                for rank, each in enumerate(order)
            ],
        )

    async def reload(self, *, dry_run: bool, discard_changes: bool) -> Applied:
        if self.reload_gate:
            self.reload_begun.set()
            await self.reload_gate.wait()
        if self.reload_error:
            self.reloads_failed += 1
            self.last_reload_error = str(self.reload_error)
            raise self.reload_error
        change = ChangeView(
            kind="changed",
            path="pools.web.strategy",
            before="round-robin",
            after="hash",
            needs_restart=None,
            text="~ pools.web.strategy: round-robin → hash",
        )
        notes = []
        if discard_changes and self.changed:
            notes = [f"{change} was dropped" for change, _ in self.changed]
        if not dry_run:
            self.reloads.append({"discard_changes": discard_changes})
            if discard_changes:
                self.changed.clear()
            self.event("reload", "the configuration was reloaded: 1 change")
        return Applied(applied=not dry_run, changes=[change], notes=notes)

    async def change(self, change: RuntimeChange, *, timeout: float | None = None) -> Applied:
        members = self._members(change.pool)
        match change:
            case AddBackend():
                self._add(members, change)
            case RemoveBackend():
                self._remove(members, change)
            case SetState():
                backend = self._backend(members, change.backend)
                backend.mode, backend.since_at = change.state, self.now
                backend.drain_until_at = None if timeout is None else self.now + timeout
                backend.changes = [f"{change.state} by the operator"]
            case SetWeight():
                backend = self._backend(members, change.backend)
                backend.weight = change.weight
                backend.changes = [f"weight {change.weight} by the operator"]
        self.changed.append((change, timeout))
        self.event("operator", str(change), change.pool)
        return Applied(applied=True, changes=[_change_view(change)], notes=[])

    def _add(self, members: dict[str, FakeBackend], change: AddBackend) -> None:
        added: BackendConfig = change.backend
        if added.name in members:
            raise ChangeError(f"pool {change.pool} has a backend {added.name} already")
        members[added.name] = FakeBackend(
            change.pool,
            added.name,
            added.address,
            weight=added.weight,
            tier=added.priority,
            max_connections=added.max_connections,
            mode=added.state,
            checked="not checked",
            changes=["added by the operator"],
        )

    def _remove(self, members: dict[str, FakeBackend], change: RemoveBackend) -> None:
        self._backend(members, change.backend)
        if len(members) == 1:
            raise ChangeError(f"the last backend of pool {change.pool} cannot be removed")
        del members[change.backend]

    async def save(self) -> Saved:
        if self.save_error:
            raise self.save_error
        if self.file is None:
            raise ChangeError("there is no config file to save into")
        saved = [str(change) for change, _ in self.changed]
        self.changed.clear()
        return Saved(file=self.file, changes=saved)

    def _members(self, pool: str) -> dict[str, FakeBackend]:
        if pool not in self.by_pool:
            raise NotFoundError(f"there is no pool {pool}; pools: {', '.join(self.by_pool)}")
        return self.by_pool[pool]

    def _backend(self, members: dict[str, FakeBackend], name: str) -> FakeBackend:
        if name not in members:
            raise NotFoundError(f"no backend is called {name}")
        return members[name]


async def _read(queue: asyncio.Queue[Ended]) -> AsyncIterator[list[Ended]]:
    while True:
        yield [await queue.get()]


def _is_wanted(wanted: SessionFilter | TapFilter, record: dict[str, Any]) -> bool:
    if wanted.client is not None and not _is_of(wanted.client, record["client"]):
        return False
    letters = getattr(wanted, "termination", None)
    if letters is not None and not _fits(letters, record.get("termination", "")):
        return False
    keys = ("listener", "pool", "backend")
    return all(getattr(wanted, key) in (None, record[key]) for key in keys)


def _is_of(network: str, client: str) -> bool:
    host = client.rpartition(":")[0].strip("[]")
    return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)


def _fits(letters: str, termination: str) -> bool:
    pairs = zip(letters, termination, strict=False)
    return len(letters) == len(termination) and all(a in ("?", b) for a, b in pairs)


def _change_view(change: RuntimeChange) -> ChangeView:
    return ChangeView(
        kind="changed",
        path=f"pools.{change.pool}",
        before=None,
        after=str(change),
        needs_restart=None,
        text=f"~ pools.{change.pool}: {change}",
    )


async def _serve(port: int, token: str, backends: int) -> None:
    control = FakeControl(backends=backends)
    config = AdminConfig(bind=f"127.0.0.1:{port}")
    server = AdminServer(control, config, token=token, metrics=lambda: b"# no metrics\n")
    await server.start()
    print(f"{server.address} token {token}", flush=True)  # noqa: T201 - run by hand
    while True:
        await asyncio.sleep(1)  # the fake's clock, for somebody who looks; no test runs this
        control.advance()


def main() -> None:
    """Serve a fake, by hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9191)
    parser.add_argument("--token", default="a-token-for-trying-things-out")
    parser.add_argument("--backends", type=int, default=4)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.port, arguments.token, arguments.backends))


if __name__ == "__main__":
    main()

"""One connection, top to bottom: classify, acquire, connect, relay, release, one log line."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from socket import socket

from tcplb.dataplane.counters import Counters
from tcplb.dataplane.engine import Connection, Engine, Flow, Timeouts
from tcplb.dataplane.record import Active, Record, RecordSink
from tcplb.dataplane.termination import Phase, Termination, after_failed_dial
from tcplb.policy.classify import NEED_MORE, RequestTarget, classify, client_key
from tcplb.policy.health import State
from tcplb.policy.names import HashKey
from tcplb.policy.outcome import Outcome
from tcplb.policy.pool import Lease, Pool

FIRST_BYTE_WAIT = 0.2
"""Seconds that `hash_key = "auto"` waits for a client to speak first."""

TRIAL_PATIENCE = 0.1
"""Seconds that a client waits for a backend on trial before it goes to the next one."""

_ANSWER_TIME = 1.0
_BODY = b"No backend is available to take this connection.\n"
_UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"Content-Type: text/plain\r\n"
    b"Content-Length: %d\r\n"
    b"Connection: close\r\n"
    b"\r\n"
    b"%b" % (len(_BODY), _BODY)
)

log = logging.getLogger("tcplb.session")
health_log = logging.getLogger("tcplb.health")


@dataclass(slots=True)
class Frontend:
    """What all sessions of one listener share."""

    name: str
    pool: Pool
    engine: Engine
    timeouts: Timeouts
    counters: Counters
    record: RecordSink
    """Where a session's record goes at its end."""
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    active: int = 0


class Session:
    """One client's connection. `run` is its whole life."""

    def __init__(self, frontend: Frontend, client_socket: socket, address: tuple[str, int]) -> None:
        self._frontend = frontend
        self._pool = frontend.pool
        self._timeouts = frontend.timeouts
        self._clock = frontend.clock
        self._client_socket = client_socket
        self._host, self._port = address
        self._client: Connection | None = None
        self._backend: Connection | None = None
        self._lease: Lease | None = None
        self._phase = Phase.READING
        self._key = b""
        self._spoke_http = False
        self._attempts = 0
        self._last_tried: str | None = None
        self._flow = Flow()
        self._accepted_at = frontend.wall_clock()
        self._began = self._clock()
        self._dialled: float | None = None
        self._connected: float | None = None

    async def run(self) -> None:
        """Serve the connection. Whatever happens, all is given back and logged, once."""
        termination: Termination | None = None
        self._frontend.active += 1
        self._frontend.counters.active += 1
        try:
            termination = await self._serve()
        except asyncio.CancelledError:
            termination = self._phase.killed
            self._frontend.counters.killed += 1
            raise
        finally:
            self._release(termination or self._phase.bug)

    async def _serve(self) -> Termination:
        try:
            client = self._client = await self._frontend.engine.adopt(self._client_socket)
            self._key = await self._find_key(client)
        except OSError:
            return Termination.CLIENT_RESET_EARLY
        self._phase = Phase.CONNECTING
        result = await self._connect(client)
        if isinstance(result, Termination):
            await self._turn_away(client, result)
            return result
        self._phase = Phase.DATA
        return await self._frontend.engine.relay(client, result, self._timeouts, self._flow)

    # -- classify -----------------------------------------------------------------------------

    async def _find_key(self, client: Connection) -> bytes:
        """Return what the strategy places; wait for bytes only if it needs them."""
        if not self._pool.strategy.keyed:
            return b""
        if self._pool.hash_key is not HashKey.CLIENT:
            request = await self._read_request_line(client)
            if request is not None:
                self._spoke_http = True
                return request.target
        return client_key(self._host)

    async def _read_request_line(self, client: Connection) -> RequestTarget | None:
        """Peek until the first line is known; None if it is not HTTP, too slow or too long."""
        first_line = self._timeouts.first_line
        auto = self._pool.hash_key is HashKey.AUTO
        try:
            data = await client.peek(0, min(FIRST_BYTE_WAIT, first_line) if auto else first_line)
            deadline = self._clock() + first_line
            while (verdict := classify(data)) is NEED_MORE:
                seen = len(data)
                data = await client.peek(seen, deadline - self._clock())
                if len(data) == seen:  # a FIN: there will never be more
                    return None
        except TimeoutError:
            return None
        return verdict if isinstance(verdict, RequestTarget) else None

    # -- acquire and connect ------------------------------------------------------------------

    async def _connect(self, client: Connection) -> Connection | Termination:
        """Dial backends in the order of the key, each at most once, until one answers."""
        now = self._dialled = self._clock()
        deadline = now + self._timeouts.connect_deadline
        tried: set[str] = set()
        failure = Termination.NO_BACKEND
        while now < deadline and (lease := self._pool.acquire(self._key, now=now, exclude=tried)):
            tried.add(lease.backend.name)
            result = await self._dial(lease, min(self._timeouts.connect, deadline - now))
            now = self._clock()
            if client.lost:
                return Termination.CLIENT_RESET_CONNECTING
            if not isinstance(result, Outcome):
                self._connected = now
                return result
            failure = after_failed_dial(result)
        return failure

    async def _dial(self, lease: Lease, timeout: float) -> Connection | Outcome:
        self._attempts += 1
        self._last_tried = lease.backend.name
        engine = self._frontend.engine
        if lease.trial:
            late = partial(self._settle_late_trial, lease)
            trial = await engine.dial_on_trial(
                lease.backend, timeout, patience=TRIAL_PATIENCE, late=late
            )
            return Outcome.TIMED_OUT if trial is None else self._settle(lease, trial)
        self._lease = lease
        return self._settle(lease, await engine.dial(lease.backend, timeout))

    def _settle(self, lease: Lease, result: Connection | Outcome) -> Connection | Outcome:
        """Keep the lease of a dial that connected; give back that of one that failed."""
        if isinstance(result, Outcome):
            self._observe(lease, result)
            self._pool.release(lease)
            self._lease = None
        else:
            self._observe(lease, Outcome.CONNECTED)
            self._lease = lease
            self._backend = result
        return result

    def _settle_late_trial(self, lease: Lease, result: Connection | Outcome) -> None:
        """Judge the backend by a dial whose client did not wait for it."""
        outcome = result if isinstance(result, Outcome) else Outcome.CONNECTED
        self._observe(lease, outcome)
        self._pool.release(lease)
        if not isinstance(result, Outcome):
            result.close()

    def _observe(self, lease: Lease, outcome: Outcome) -> None:
        transition = self._pool.observe(lease, outcome, now=self._clock())
        if transition is not None:
            level = logging.WARNING if transition.state is State.EJECTED else logging.INFO
            health_log.log(level, "pool %s: %s", self._pool.name, transition)
        if outcome is not Outcome.CONNECTED:
            log.debug("pool %s: connect to %s: %s", self._pool.name, lease.backend, outcome.value)

    # -- the end ------------------------------------------------------------------------------

    async def _turn_away(self, client: Connection, failure: Termination) -> None:
        if failure.without_backend:
            self._frontend.counters.turned_away += 1
            if self._spoke_http:
                await client.answer(_UNAVAILABLE, _ANSWER_TIME)
                await client.wait_closed()
        # Anybody else gets a reset: a FIN would look like an empty answer.

    def _release(self, termination: Termination) -> None:
        for connection in (self._client, self._backend):
            if connection is not None:
                connection.reset()  # does nothing to one that has been closed
        if self._client is None:
            self._client_socket.close()
        record = self._record(termination)  # the session still counts itself as active
        if self._lease is not None:
            self._pool.release(self._lease)
        self._frontend.active -= 1
        self._frontend.counters.active -= 1
        self._frontend.record(record)

    def _record(self, termination: Termination) -> Record:
        lease = self._lease
        dialled, connected = self._dialled, self._connected
        return Record(
            accepted_at=self._accepted_at,
            client_host=self._host,
            client_port=self._port,
            listener=self._frontend.name,
            pool=self._pool.name,
            backend=self._last_tried,
            key=self._key,
            classify_ms=_ms(self._began, dialled),
            queue_ms=-1 if dialled is None else 0,
            connect_ms=_ms(dialled, connected),
            total_ms=_ms(self._began, self._clock()),
            bytes_up=self._flow.up.moved,
            bytes_down=self._flow.down.moved,
            attempts=self._attempts,
            active=Active(
                process=self._frontend.counters.active,
                listener=self._frontend.active,
                pool=self._pool.active_total,
                backend=self._pool.active(lease.backend) if lease else 0,
            ),
            termination=termination,
        )


def _ms(since: float | None, until: float | None) -> int:
    if since is None or until is None:
        return -1
    return int((until - since) * 1000)

"""One connection, top to bottom: classify, acquire, connect, relay, release, one log line."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from socket import SocketType

from tcplb.dataplane.counters import BackendCounters, Counters
from tcplb.dataplane.dial import SocketAddress
from tcplb.dataplane.engine import Connection, Engine, Timeouts
from tcplb.dataplane.quiet import QuietTimers
from tcplb.dataplane.record import Active, Record, RecordSink
from tcplb.dataplane.termination import Phase, Termination, after_failed_dial
from tcplb.policy.classify import NEED_MORE, RequestTarget, classify, client_key
from tcplb.policy.health import State, Transition
from tcplb.policy.names import HashKey
from tcplb.policy.outcome import Outcome
from tcplb.policy.pool import Lease, Pool

FIRST_BYTE_WAIT = 0.2
"""Seconds that `hash_key = "auto"` waits for a client to speak first."""

TRIAL_PATIENCE = 0.1
"""Seconds that a client waits for a backend on trial before it goes to the next one."""

_TRANSITION_LEVELS = {
    State.EJECTED: logging.WARNING,
    State.IN: logging.INFO,
    State.ON_TRIAL: logging.DEBUG,
}

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

# A name of their own for what every connection asks for: in Python 3.11, reading a member off its
# enum takes 120 ns, a global 7.
_READING = Phase.READING
_CONNECTING = Phase.CONNECTING
_DATA = Phase.DATA
_CONNECTED = Outcome.CONNECTED
_NORMAL = Termination.NORMAL

log = logging.getLogger("tcplb.session")
health_log = logging.getLogger("tcplb.health")


def log_transition(pool: Pool, transition: Transition) -> None:
    """Log a change in what is thought of a backend; a trial's begin only at debug."""
    level = _TRANSITION_LEVELS[transition.state]
    health_log.log(level, "pool %s: %s", pool.name, transition)


@dataclass(slots=True)
class Frontend:
    """What all sessions of one listener share."""

    name: str
    pool: Pool
    engine: Engine
    timeouts: Timeouts
    counters: Counters
    record: RecordSink | None
    """Where a session's record goes at its end, if anywhere."""
    health_changed: Callable[[Pool, Transition], None] = log_transition
    """Hears of each change in what is thought of a backend."""
    backend_counters: Sequence[BackendCounters] = ()
    """One for each backend, in the pool's order; made here if not given."""
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    active: int = 0
    quiet_timers: QuietTimers = field(init=False)

    def __post_init__(self) -> None:
        """Make the timers, which are those of the running loop, and counters if there are none."""
        loop = asyncio.get_running_loop()
        self.quiet_timers = QuietTimers(loop, self.timeouts.idle, self.timeouts.half_close)
        if not self.backend_counters:
            self.backend_counters = tuple(BackendCounters() for _ in self.pool.backends)


class Session:
    """One client's connection. `run` is its whole life."""

    __slots__ = (
        "_backend",
        "_client",
        "_client_socket",
        "_ended",
        "_frontend",
        "_lease",
        "_phase",
        "_record",
        "_spoke_http",
        "started",
    )

    started: object
    """What its engine takes to cancel it."""

    def __init__(
        self,
        frontend: Frontend,
        client_socket: SocketType,
        address: SocketAddress,
        ended: Callable[[Session], None],
    ) -> None:
        self._frontend = frontend
        self._client_socket = client_socket
        self._ended = ended
        self._client: Connection | None = None
        self._backend: Connection | None = None
        self._lease: Lease | None = None
        self._phase = _READING
        self._spoke_http = False
        self._record = Record(
            frontend.wall_clock(),
            frontend.clock(),
            frontend.name,
            frontend.pool.name,
            address[0],
            address[1],
        )

    async def run(self) -> None:
        """Serve the connection. Whatever happens, all is given back and logged, once."""
        self._frontend.active += 1
        termination: Termination | None = None
        try:
            termination = await self._serve()
        except asyncio.CancelledError:
            termination = self._phase.killed
            self._frontend.counters.killed += 1
            raise
        except Exception:
            log.exception("internal error in a session; the others go on")
        finally:
            self._release(termination or self._phase.bug)

    async def _serve(self) -> Termination:
        frontend = self._frontend
        try:
            client = self._client = await frontend.engine.adopt(self._client_socket)
            if frontend.pool.strategy.keyed:
                self._record.key = await self._find_key(client)
        except OSError:
            return Termination.CLIENT_RESET_EARLY
        self._phase = _CONNECTING
        failure = await self._connect(client)
        backend = self._backend
        if failure is not None or backend is None:  # there is none only if there is a failure
            failure = failure or Termination.NO_BACKEND
            await self._turn_away(client, failure)
            return failure
        self._phase = _DATA
        return await frontend.engine.relay(client, backend, frontend.quiet_timers)

    def cancel(self) -> None:
        """End it where it is, now or soon."""
        self._frontend.engine.cancel(self.started)

    # -- classify -----------------------------------------------------------------------------

    async def _find_key(self, client: Connection) -> bytes:
        """Return what the strategy places; wait for bytes only if it needs them."""
        if self._frontend.pool.hash_key is not HashKey.CLIENT:
            request = await self._read_request_line(client)
            if request is not None:
                self._spoke_http = True
                return request.target
        return client_key(self._record.client_host)

    async def _read_request_line(self, client: Connection) -> RequestTarget | None:
        """Peek until the first line is known; None if it is not HTTP, too slow or too long."""
        clock, first_line = self._frontend.clock, self._frontend.timeouts.first_line
        auto = self._frontend.pool.hash_key is HashKey.AUTO
        try:
            data = await client.peek(0, min(FIRST_BYTE_WAIT, first_line) if auto else first_line)
            deadline = clock() + first_line
            while (verdict := classify(data)) is NEED_MORE:
                seen = len(data)
                data = await client.peek(seen, deadline - clock())
                if len(data) == seen:  # a FIN: there will never be more
                    return None
        except TimeoutError:
            return None
        return verdict if isinstance(verdict, RequestTarget) else None

    # -- acquire and connect ------------------------------------------------------------------

    async def _connect(self, client: Connection) -> Termination | None:
        """Dial backends in the order of the key, each at most once, until one answers.

        Returns None when `_backend` is connected, or else how the session ends.
        """
        frontend, record = self._frontend, self._record
        pool, timeouts = frontend.pool, frontend.timeouts
        now = record.dialled = frontend.clock()
        deadline = now + timeouts.connect_deadline
        tried: tuple[str, ...] = ()
        failure: Outcome | None = None  # of the last dial
        while now < deadline and (lease := pool.acquire(record.key, now=now, exclude=tried)):
            record.attempts += 1
            record.backend = lease.backend.name
            timeout = timeouts.connect if now + timeouts.connect < deadline else deadline - now
            if lease.trial:
                failure = await self._dial_on_trial(lease, timeout)
            else:
                self._lease = lease
                result = await frontend.engine.dial(lease.backend, timeout)
                failure = self._settle(lease, result)
            now = frontend.clock()
            if client.lost:
                return Termination.CLIENT_RESET_CONNECTING
            if failure is None:
                record.connected = now
                return None
            tried += (lease.backend.name,)
        if failure is not None:
            return after_failed_dial(failure)
        return Termination.ALL_FULL if pool.full(tried) else Termination.NO_BACKEND

    def _settle(self, lease: Lease, result: Connection | Outcome) -> Outcome | None:
        """Judge the backend by its dial; keep the lease if that connected, or else give it back."""
        if isinstance(result, Outcome):
            self._observe(lease, result)
            self._frontend.pool.release(lease)
            self._lease = None
            return result
        self._lease = lease
        self._backend = result
        self._observe(lease, _CONNECTED)
        return None

    async def _dial_on_trial(self, lease: Lease, timeout: float) -> Outcome | None:
        frontend = self._frontend
        news = frontend.pool.trial_begun(lease, until=frontend.clock() + timeout)
        frontend.health_changed(frontend.pool, news)
        late = partial(self._settle_late_trial, lease)
        result = await frontend.engine.dial_on_trial(
            lease.backend, timeout, patience=TRIAL_PATIENCE, late=late
        )
        if result is None:
            return Outcome.TIMED_OUT  # `_settle_late_trial` will see to the lease
        return self._settle(lease, result)

    def _settle_late_trial(self, lease: Lease, result: Connection | Outcome) -> None:
        """Judge the backend by a dial whose client did not wait for it."""
        outcome = result if isinstance(result, Outcome) else Outcome.CONNECTED
        self._observe(lease, outcome)
        self._frontend.pool.release(lease)
        if not isinstance(result, Outcome):
            result.close()

    def _observe(self, lease: Lease, outcome: Outcome) -> None:
        frontend = self._frontend
        transition = frontend.pool.observe(lease, outcome, now=frontend.clock())
        if transition is not None:
            frontend.health_changed(frontend.pool, transition)
        counters = frontend.backend_counters[lease.position]
        if outcome is _CONNECTED:
            counters.connections += 1
        else:
            counters.connect_failures += 1
            log.debug(
                "pool %s: connect to %s: %s", frontend.pool.name, lease.backend, outcome.value
            )

    # -- the end ------------------------------------------------------------------------------

    async def _turn_away(self, client: Connection, failure: Termination) -> None:
        if failure.without_backend:
            self._frontend.counters.turned_away += 1
            if self._spoke_http:
                await client.answer(_UNAVAILABLE, _ANSWER_TIME)
                await client.wait_closed()
        # Anybody else gets a reset: a FIN would look like an empty answer.

    def _release(self, termination: Termination) -> None:
        client, backend, frontend = self._client, self._backend, self._frontend
        if client is None:
            self._client_socket.close()
        elif termination is not _NORMAL:  # after which both are closed
            client.reset()
            if backend is not None:
                backend.reset()
        if frontend.record is not None:
            self._complete_record(termination)
        lease = self._lease
        if lease is not None:
            if client is not None and backend is not None:
                counters = frontend.backend_counters[lease.position]
                counters.bytes_up += client.moved
                counters.bytes_down += backend.moved
            frontend.pool.release(lease)
        frontend.active -= 1
        if frontend.record is not None:
            self._log(frontend.record)
        self._ended(self)

    def _log(self, sink: RecordSink) -> None:
        try:
            sink(self._record)
        except Exception:
            log.exception("internal error in a session; the others go on")

    def _complete_record(self, termination: Termination) -> None:
        """Note what is known only at the end, while the session still counts itself as active."""
        record, frontend, lease = self._record, self._frontend, self._lease
        record.ended = frontend.clock()
        record.termination = termination
        record.bytes_up = 0 if self._client is None else self._client.moved
        record.bytes_down = 0 if self._backend is None else self._backend.moved
        record.active = Active(
            frontend.counters.active,
            frontend.active,
            frontend.pool.active_total,
            0 if lease is None else frontend.pool.active(lease.backend),
        )

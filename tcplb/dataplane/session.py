"""One connection, top to bottom: classify, acquire, connect, relay, release, one log line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from socket import SocketType

from tcplb.dataplane.dial import SocketAddress
from tcplb.dataplane.engine import Connection
from tcplb.dataplane.find_key import find_key
from tcplb.dataplane.frontend import Frontend
from tcplb.dataplane.queueing import Waiter
from tcplb.dataplane.record import Active, Record, RecordSink
from tcplb.dataplane.termination import Phase, Termination, after_failed_dial
from tcplb.dataplane.unavailable import ANSWER_TIME, UNAVAILABLE
from tcplb.policy.addresses import destination_key
from tcplb.policy.lease import Lease
from tcplb.policy.outcome import Outcome
from tcplb.policy.transition import Transition

TRIAL_PATIENCE = 0.1
"""Seconds that a client waits for a backend on trial before it goes to the next one."""

# A name of their own for what every connection asks for: in Python 3.11, reading a member off its
# enum takes 120 ns, a global 7.
_READING = Phase.READING
_CONNECTING = Phase.CONNECTING
_DATA = Phase.DATA
_CONNECTED = Outcome.CONNECTED
_NORMAL = Termination.NORMAL

log = logging.getLogger("tcplb.session")


class Session:
    """One client's connection. `run` is its whole life."""

    __slots__ = (
        "_backend",
        "_client",
        "_client_socket",
        "_ended",
        "_retrying",
        "_spoke_http",
        "frontend",
        "lease",
        "number",
        "phase",
        "record",
        "started",
    )

    number: int
    """That of the connection in this process."""
    started: object
    """What its engine takes to cancel it."""

    def __init__(
        self,
        frontend: Frontend,
        client_socket: SocketType,
        address: SocketAddress,
        ended: Callable[[Session], None],
    ) -> None:
        self.frontend = frontend
        self._client_socket = client_socket
        self._ended = ended
        self._client: Connection | None = None
        self._backend: Connection | None = None
        self.lease: Lease | None = None
        """The backend that it has now."""
        self.phase = _READING
        self._spoke_http = False
        self._retrying = False
        """Whether it holds a part of the retry budget."""
        self.record = Record(
            frontend.wall_clock(),
            frontend.clock(),
            frontend.name,
            frontend.pool.name,
            address[0],
            address[1],
        )

    async def run(self) -> None:
        """Serve the connection. Whatever happens, all is given back and logged, once."""
        termination: Termination | None = None
        try:
            termination = await self._serve()
        except asyncio.CancelledError:
            closed = self.record.termination is not _NORMAL
            termination = self.record.termination if closed else self.phase.killed
            self.frontend.counters.killed += 1
            raise
        except Exception:
            log.exception("internal error in a session; the others go on")
        finally:
            if self._retrying:
                self._end_retry()
            self._release(termination or self.phase.bug)

    async def _serve(self) -> Termination:
        frontend = self.frontend
        try:
            destination = self._client_socket.getsockname() if frontend.by_destination else None
            client = self._client = await frontend.engine.adopt(self._client_socket)
            if destination is not None:
                self.record.key = destination_key(destination[0], destination[1])
            elif frontend.pool.keyed:
                found = await find_key(client, frontend, self.record.client_host)
                self.record.key, self._spoke_http = found
        except OSError:
            return Termination.CLIENT_RESET_EARLY
        self.phase = _CONNECTING
        failure = await self._connect(client)
        backend = self._backend
        if failure is not None or backend is None:  # there is none only if there is a failure
            failure = failure or Termination.NO_BACKEND
            await self._turn_away(client, failure)
            return failure
        self.phase = _DATA
        if not frontend.listens:
            return await frontend.engine.relay(client, backend, frontend.quiet_timers)
        termination = await frontend.engine.relay(
            client, backend, frontend.quiet_timers, self._on_first_byte
        )
        self._judge_answer(backend)
        return termination

    def cancel(self, why: Termination = _NORMAL) -> None:
        """End it where it is, now or soon. Unless there is a `why`, it is for a shutdown."""
        self.record.termination = why
        self.frontend.engine.cancel(self.started)

    @property
    def moved(self) -> tuple[int, int]:
        """The bytes so far, to the backend and from it."""
        client, backend = self._client, self._backend
        return client.moved if client else 0, backend.moved if backend else 0

    # -- acquire and connect ------------------------------------------------------------------

    async def _connect(self, client: Connection) -> Termination | None:
        """Dial backends in the order of the key, each at most once, until one answers.

        Returns None when `_backend` is connected, or else how the session ends.
        """
        frontend, record = self.frontend, self.record
        pool, timeouts = frontend.pool, frontend.timeouts
        now = record.classified = frontend.clock()
        deadline = now + timeouts.connect_deadline  # for all but the time in a queue
        tried: tuple[str, ...] = ()
        failure: Outcome | None = None  # of the last dial
        while now < deadline and pool.rules.retry.allows(record.attempts):
            lease = None
            if not tried and not frontend.queue.waiting:
                lease = pool.acquire(record.key, now=now)
            if lease is None:
                queued = record.queued
                found = await self._find_lease(client, tried, deadline, failure)
                if isinstance(found, Termination):
                    return found
                lease, now = found, frontend.clock()
                deadline += record.queued - queued
                if now >= deadline:
                    self.lease = lease  # to be given back
                    break
            timeout = timeouts.connect if now + timeouts.connect < deadline else deadline - now
            failure = await self._dial(lease, timeout)
            now = frontend.clock()
            if client.lost:
                return Termination.CLIENT_RESET_CONNECTING
            if failure is None:
                record.connected = now
                return None
            tried += (lease.backend.name,)
        return after_failed_dial(failure or Outcome.TIMED_OUT)

    async def _find_lease(
        self, client: Connection, tried: tuple[str, ...], deadline: float, failure: Outcome | None
    ) -> Lease | Termination:
        """Return a lease that is not there for the asking: for a retry, or after a wait.

        Without one, returns how the session ends. `failure` is that of the last dial, and the
        `deadline` is that of all dials.
        """
        pool, record = self.frontend.pool, self.record
        no_retry = Termination.NO_BACKEND if failure is None else after_failed_dial(failure)
        waiter = Waiter(client, record.key, tried)
        if tried:
            if not await self._begin_retry(waiter, deadline):
                return Termination.CLIENT_RESET_CONNECTING if client.lost else no_retry
            lease = pool.acquire(record.key, now=self.frontend.clock(), exclude=tried)
            if lease is not None:
                return lease
            self._end_retry()
        if not pool.full(tried):
            return no_retry
        queued = record.queued
        found = await self._wait_for_room(waiter)
        if tried and not isinstance(found, Termination):
            # There is room, and it keeps that; but its turn to try again it has to wait for anew.
            if await self._begin_retry(Waiter(client), deadline + record.queued - queued):
                return found
            return Termination.CLIENT_RESET_CONNECTING if client.lost else no_retry
        return found

    async def _wait_for_room(self, waiter: Waiter) -> Lease | Termination:
        frontend, record = self.frontend, self.record
        began = frontend.clock()
        self.phase = Phase.QUEUED
        record.queue_ahead = frontend.queue.waiting
        try:
            ended = await frontend.queue.wait_for_room(waiter)
        finally:
            self.lease = waiter.lease
            record.queued += frontend.clock() - began
        self.phase = _CONNECTING
        self._count_wait(ended)
        return ended or waiter.lease or Termination.BUG_QUEUED

    def _count_wait(self, ended: Termination | None) -> None:
        counters = self.frontend.counters
        match ended:
            case Termination.QUEUE_FULL:
                counters.queue_full += 1
            case Termination.ALL_FULL:
                pass
            case _:
                counters.queued += 1
                counters.queue_timed_out += ended is Termination.QUEUE_TIMED_OUT

    async def _begin_retry(self, waiter: Waiter, deadline: float) -> bool:
        patience = deadline - self.frontend.clock()
        self._retrying = await self.frontend.queue.begin_retry(waiter, patience)
        return self._retrying

    def _end_retry(self) -> None:
        self._retrying = False
        self.frontend.queue.end_retry()

    async def _dial(self, lease: Lease, timeout: float) -> Outcome | None:
        """Dial the backend of `lease`; return why it failed, or None if `_backend` is connected."""
        record = self.record
        if record.attempts:
            self.frontend.counters.retries += 1
            self.frontend.routes[lease.position].count_retry()
        record.attempts += 1
        record.backend = lease.backend.name
        if lease.trial:
            self.lease = None  # it is the dial's own, which may go on without us
            failure = await self._dial_on_trial(lease, timeout)
        else:
            self.lease = lease
            result = await self.frontend.engine.dial(lease.backend, timeout)
            failure = self._settle(lease, result)
        if self._retrying:
            self._end_retry()
        return failure

    def _settle(self, lease: Lease, result: Connection | Outcome) -> Outcome | None:
        """Judge the backend by its dial; keep the lease if that connected, or else give it back."""
        if isinstance(result, Outcome):
            self._observe(lease, result)
            self.frontend.queue.release(lease)
            self.lease = None
            return result
        self.lease = lease
        self._backend = result
        self._observe(lease, _CONNECTED)
        return None

    async def _dial_on_trial(self, lease: Lease, timeout: float) -> Outcome | None:
        frontend = self.frontend
        news = frontend.pool.trial_begun(lease, until=frontend.clock() + timeout)
        frontend.health_changed(frontend.pool.name, news)
        late = partial(self._settle_late_trial, lease)
        frontend.trials += 1
        result = await frontend.engine.dial_on_trial(
            lease.backend, timeout, patience=TRIAL_PATIENCE, late=late
        )
        if result is None:
            return Outcome.TIMED_OUT  # `_settle_late_trial` will see to the lease
        frontend.trials -= 1
        return self._settle(lease, result)

    def _settle_late_trial(self, lease: Lease, result: Connection | Outcome) -> None:
        """Judge the backend by a dial whose client did not wait for it."""
        outcome = result if isinstance(result, Outcome) else Outcome.CONNECTED
        self.frontend.trials -= 1
        self._observe(lease, outcome)
        self.frontend.queue.release(lease)
        if not isinstance(result, Outcome):
            result.close()

    def _observe(self, lease: Lease, outcome: Outcome) -> None:
        frontend, now = self.frontend, self.frontend.clock()
        self._tell(frontend.pool.observe(lease, outcome, now=now))
        route = frontend.routes[lease.position]
        if outcome is _CONNECTED:
            route.count_connect(now - lease.acquired_at)
        else:
            route.count_failure()
            log.debug(
                "pool %s: connect to %s: %s", frontend.pool.name, lease.backend, outcome.value
            )

    def _tell(self, transition: Transition | None) -> None:
        if transition is not None:
            self.frontend.health_changed(self.frontend.pool.name, transition)

    # -- what a backend says first, for strategies and rules that want to know ------------------

    def _on_first_byte(self, seconds: float) -> None:
        """Hear that the backend has sent its first byte, so long after there was something to say.

        That is since the relay began, or the client's first byte came, whichever was later.
        """
        lease, record, frontend = self.lease, self.record, self.frontend
        if lease is None or record.connected is None:
            return
        now = frontend.clock()
        connecting = record.connected - lease.acquired_at
        frontend.pool.observe_latency(lease, connecting + seconds, now=now)
        if frontend.pool.rules.eject.first_byte:
            self._tell(frontend.pool.observe_first_byte(lease, now=now))

    def _judge_answer(self, backend: Connection) -> None:
        """Hold it against a backend that it was the first to end, without a word."""
        pool, lease = self.frontend.pool, self.lease
        if lease is None or backend.moved or not backend.hung_up:
            return
        if pool.rules.eject.first_byte:
            self._tell(pool.observe_no_answer(lease, now=self.frontend.clock()))

    # -- the end ------------------------------------------------------------------------------

    async def _turn_away(self, client: Connection, failure: Termination) -> None:
        if failure.without_backend:
            self.frontend.counters.turned_away += 1
            if self._spoke_http:
                await client.answer(UNAVAILABLE, ANSWER_TIME)
                await client.wait_closed()
        # Anybody else gets a reset: a FIN would look like an empty answer.

    def _release(self, termination: Termination) -> None:
        client, backend, frontend = self._client, self._backend, self.frontend
        if client is None:
            self._client_socket.close()
        elif termination is not _NORMAL:  # after which both are closed
            client.reset()
            if backend is not None:
                backend.reset()
        self.record.ended = frontend.clock()
        self._count(termination)
        if frontend.record is not None:
            self._complete_record(termination)
        if self.lease is not None:
            self._give_back(self.lease)
        frontend.active -= 1
        if frontend.record is not None:
            self._log(frontend.record)
        self._ended(self)

    def _give_back(self, lease: Lease) -> None:
        frontend = self.frontend
        if lease.trial and self._backend is None:  # it was never dialled: let the next one try
            frontend.pool.observe(lease, Outcome.ABANDONED, now=frontend.clock())
        frontend.queue.release(lease)

    def _count(self, termination: Termination) -> None:
        """Count this session, while it still has its lease: after that the route may be gone."""
        client, backend, frontend = self._client, self._backend, self.frontend
        route = frontend.unrouted
        if self.lease is not None and client is not None and backend is not None:
            route = frontend.routes[self.lease.position]
            route.count_bytes(client.moved, backend.moved)
        route.count_end(termination, self.record.ended - self.record.began)

    def _log(self, sink: RecordSink) -> None:
        try:
            sink(self.record)
        except Exception:
            log.exception("internal error in a session; the others go on")

    def _complete_record(self, termination: Termination) -> None:
        """Note what is known only at the end, while the session still counts itself as active."""
        record, frontend, lease = self.record, self.frontend, self.lease
        record.termination = termination
        record.bytes_up, record.bytes_down = self.moved
        record.active = Active(
            frontend.counters.active,
            frontend.all_active,
            frontend.pool.active_total,
            0 if lease is None else frontend.pool.active_beside(lease),
        )

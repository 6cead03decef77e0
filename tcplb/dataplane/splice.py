"""The `splice` engine: raw sockets on an edge-triggered epoll. Linux, plain TCP."""

from __future__ import annotations

import asyncio
import errno
import os
import select
from _socket import SocketType as RawSocket
from collections.abc import Callable, Coroutine, Generator
from socket import IPPROTO_TCP, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, TCP_NODELAY, SocketType
from types import coroutine
from typing import Any

from tcplb.dataplane.dial import (
    Target,
    connect_error,
    connected_to_itself,
    known_target,
    outcome_of,
    resolve,
)
from tcplb.dataplane.engine import Connection, FirstByte, LateDial, Life
from tcplb.dataplane.pipes import PipePool
from tcplb.dataplane.poller import Attach, Poller, Waiting, resume, throw
from tcplb.dataplane.quiet import QuietTimers
from tcplb.dataplane.splice_connection import SpliceConnection
from tcplb.dataplane.splice_relay import SpliceRelay
from tcplb.dataplane.termination import Termination
from tcplb.policy.backend import Backend
from tcplb.policy.outcome import Outcome

MOST_PIPES = 64


def splice_works() -> bool:
    """Whether this system has what the engine needs: epoll and splice, so Linux."""
    return hasattr(select, "epoll") and hasattr(os, "splice")


class SpliceEngine:
    """Moves bytes with two pump coroutines a session, which no Task runs but the poller."""

    def __init__(self, most_pipes: int = MOST_PIPES) -> None:
        self._poller = Poller()
        self.pipes = PipePool(most_pipes)
        self._late_trials: set[_Trial] = set()

    def start(self, life: Life) -> Life:
        """Run a session up to its first wait, at once."""
        resume(life)
        return life

    def cancel(self, started: Life) -> None:
        """Raise CancelledError in a session where it waits, at once."""
        throw(started, asyncio.CancelledError())

    async def adopt(self, client: SocketType) -> Connection:
        """Take over an accepted socket."""
        return SpliceConnection(self._poller, client)

    # -- dialling -----------------------------------------------------------------------------

    async def dial(self, backend: Backend, timeout: float) -> SpliceConnection | Outcome:
        """Connect to `backend` within `timeout` seconds, or say why not."""
        target = known_target(backend.host, backend.port)
        due = self._poller.loop.time() + timeout
        try:
            if target is None:
                return await self._connect_by_name(backend, due)
            return await self._connect(target, due)
        except OSError as error:  # TimeoutError is one
            return outcome_of(error)

    async def _connect(self, target: Target, due: float) -> SpliceConnection:
        """Connect until `due`. Raises OSError."""
        # The raw type, for socket.socket costs 3 µs more (docs/performance.md).
        sock = RawSocket(target.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        try:
            sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            error = sock.connect_ex(target.address)
            connection = SpliceConnection(self._poller, sock)
        except BaseException:
            sock.close()
            raise
        try:
            if error == errno.EINPROGRESS:
                error = await connection.connected(due)
            if error or (target.may_be_us and connected_to_itself(sock, target)):
                raise connect_error(error)  # noqa: TRY301 - it closes the connection as all do
        except BaseException:
            connection.close()
            raise
        return connection

    async def _connect_by_name(self, backend: Backend, due: float) -> SpliceConnection:
        """Try the addresses of a name in the resolver's order. Raises OSError, the last one met."""
        look_up = self._poller.loop.create_task(resolve(backend.host, backend.port))
        error = OSError(errno.EADDRNOTAVAIL, "the name has no address")
        for target in await self._poller.result_of(look_up, due):
            try:
                return await self._connect(target, due)
            except OSError as failure:
                error = failure
        try:
            raise error
        finally:
            del error  # it knows this frame, and no cycle may be left to the garbage collector

    async def dial_on_trial(
        self, backend: Backend, timeout: float, *, patience: float, late: LateDial
    ) -> Connection | Outcome | None:
        """Dial, but return None after `patience` seconds and let `late` hear of the end."""
        trial = _Trial(self._poller, late, self._late_trials.discard)
        trial.life = self._run_trial(trial, backend, timeout)
        self._late_trials.add(trial)
        resume(trial.life)
        return await trial.result_within(patience)

    async def _run_trial(self, trial: _Trial, backend: Backend, timeout: float) -> None:
        try:
            trial.result = await self.dial(backend, timeout)
        except BaseException:
            trial.result = Outcome.ABANDONED
            raise
        finally:
            trial.settle()

    # -- relaying -----------------------------------------------------------------------------

    def relay(
        self,
        client: Any,
        backend: Any,
        timers: QuietTimers,
        first_byte: FirstByte | None = None,
    ) -> Coroutine[Any, Any, Termination]:
        """Carry bytes both ways until the session is over; tell `first_byte`, if it is given."""
        # Any: both are connections of this engine, made by `adopt` and `dial`.
        return SpliceRelay(client, backend, timers).run(self.pipes, first_byte)

    async def shutdown(self) -> None:
        """Give up the late dials, and what is kept for sessions to come."""
        for trial in tuple(self._late_trials):
            self.cancel(trial.life)
        self.pipes.close()
        self._poller.close()


class _Trial:
    """A dial that goes on when its session does not wait for it any longer."""

    def __init__(self, poller: Poller, late: LateDial, ended: Callable[[_Trial], None]) -> None:
        self._poller = poller
        self._late = late
        self._ended = ended
        self.life: Life
        self.result: Connection | Outcome | None = None
        self._session: Waiting | None = None
        self._awaited = True

    def settle(self) -> None:
        """Hand the result to the session, if that still waits for it, or else to `late`."""
        self._ended(self)
        if not self._awaited and self.result is not None:
            self._late(self.result)
        elif self._session is not None:
            resume(self._session)

    async def result_within(self, patience: float) -> Connection | Outcome | None:
        """Wait for the result; None after `patience` seconds, and from then on it is for `late`."""
        try:
            if self.result is None:
                self._poller.set_deadline(self, self._poller.loop.time() + patience)
                await self._until_settled()
        except TimeoutError:
            pass
        finally:
            self._awaited = False
            self._session = None
            self._poller.deadlines.pop(self, None)
        return self.result

    @coroutine
    def _until_settled(self) -> Generator[Attach, None, None]:
        yield self._set_session

    def _set_session(self, waiting: Waiting) -> None:
        self._session = waiting

    def time_out(self) -> None:
        """Let the session go on without the result."""
        if self._session is not None:
            throw(self._session, TimeoutError())

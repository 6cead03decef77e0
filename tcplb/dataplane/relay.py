"""Two pumps, one a direction, and the rules for how a session of two directions ends.

- A FIN is forwarded after every byte before it, and the other direction lives on (half-close).
- A reset is forwarded as a reset, but never over bytes that can still be delivered.
- A side that reset the connection cannot receive any more, but what it sent before still counts:
  a server may well answer, and close while the request is still being sent.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from tcplb.dataplane.engine import Count, Flow
from tcplb.dataplane.quiet import QuietTimer
from tcplb.dataplane.stream_connection import StreamConnection
from tcplb.dataplane.termination import Termination

_BOTH = 2
_FLUSH_LOOK_FIRST = 0.001
_FLUSH_LOOK_LONGEST = 0.1


class PumpEnd(Enum):
    """Why a pump stopped."""

    FIN = auto()
    """The source has sent everything, and the sink has been told so."""
    SOURCE_RESET = auto()
    SINK_RESET = auto()


async def pump(source: StreamConnection, sink: StreamConnection, count: Count) -> PumpEnd:
    """Carry bytes from `source` to `sink` until one of them ends. At most one chunk is held."""
    while True:
        try:
            data = await source.receive()
        except ConnectionResetError:
            return PumpEnd.SOURCE_RESET
        try:
            if not data:
                sink.send_fin()
                return PumpEnd.FIN
            await sink.send(data)
        except ConnectionResetError:
            return PumpEnd.SINK_RESET
        count.moved += len(data)


class Relay:
    """Carries the bytes of one session."""

    def __init__(
        self,
        client: StreamConnection,
        backend: StreamConnection,
        flow: Flow,
        *,
        idle: QuietTimer,
        half_closed: QuietTimer,
    ) -> None:
        self._client = client
        self._backend = backend
        self._flow = flow
        self._idle = idle
        self._half_closed = half_closed
        self._up: asyncio.Task[PumpEnd]
        self._down: asyncio.Task[PumpEnd]
        self._over: asyncio.Future[Termination] = asyncio.get_running_loop().create_future()
        self._ended = 0
        self._first_reset: Termination | None = None
        self._expired = False

    async def run(self) -> Termination:
        """Relay until the session is over, then end both connections as its end demands."""
        client, backend = self._client, self._backend
        self._up = asyncio.create_task(pump(client, backend, self._flow.up), name="pump up")
        self._down = asyncio.create_task(pump(backend, client, self._flow.down), name="pump down")
        self._up.add_done_callback(self._pump_ended)
        self._down.add_done_callback(self._pump_ended)
        self._idle.watch(self)
        try:
            termination = await self._over
            await self._stop_pumps()
            await self._end(termination)
        finally:
            self._idle.forget(self)
            self._half_closed.forget(self)
            await self._stop_pumps()
        return termination

    def _pump_ended(self, ended: asyncio.Task[PumpEnd]) -> None:
        """One pump is done: is the session over, or half-closed?"""
        if self._over.done() or ended.cancelled():
            return
        if (bug := ended.exception()) is not None:
            self._over.set_exception(bug)
            return
        self._ended += 1
        self._first_reset = self._first_reset or self._reset_by(ended)
        # After a reset was read, the other pump has nobody left to send to.
        if self._ended == _BOTH or ended.result() is PumpEnd.SOURCE_RESET:
            self._over.set_result(self._first_reset or Termination.NORMAL)
        else:
            self._idle.forget(self)
            self._half_closed.watch(self)

    def _reset_by(self, ended: asyncio.Task[PumpEnd]) -> Termination | None:
        """Return who has reset the connection, if that is what ended the pump."""
        end = ended.result()
        if end is PumpEnd.FIN:
            return None
        from_client = ended is self._up
        by_client = from_client is (end is PumpEnd.SOURCE_RESET)
        return Termination.CLIENT_RESET if by_client else Termination.BACKEND_RESET

    async def _stop_pumps(self) -> None:
        running = {pump_task for pump_task in (self._up, self._down) if not pump_task.done()}
        if running:
            for pump_task in running:
                pump_task.cancel()
            await asyncio.wait(running)

    # -- time-outs (called by QuietTimer) -----------------------------------------------------

    def progress(self) -> int:
        """Return a number that changes when a byte moves, be it only out of the send queues."""
        unsent = self._client.unsent() + self._backend.unsent()
        return self._flow.up.moved + self._flow.down.moved - unsent

    def expire(self) -> None:
        """Give up: nothing moves any more."""
        self._expired = True
        if self._over.done():
            return
        if self._up.done():
            self._over.set_result(Termination.BACKEND_STAYED_OPEN)
        elif self._down.done():
            self._over.set_result(Termination.CLIENT_STAYED_OPEN)
        else:
            self._over.set_result(Termination.IDLE)

    # -- the end ------------------------------------------------------------------------------

    async def _end(self, termination: Termination) -> None:
        if termination is Termination.CLIENT_RESET:
            self._client.reset()
            await self._reset_when_delivered(self._backend)
        elif termination is Termination.BACKEND_RESET:
            self._backend.reset()
            await self._reset_when_delivered(self._client)
        else:
            for connection in (self._client, self._backend):
                _close_or_reset(connection)
        await self._client.wait_closed()
        await self._backend.wait_closed()

    async def _reset_when_delivered(self, connection: StreamConnection) -> None:
        # A RST makes the kernel drop what it has not sent yet. There is no event for "all was
        # acknowledged", so it is looked for; mostly the first look finds nothing to wait for.
        self._idle.forget(self)
        self._half_closed.watch(self)
        delay = _FLUSH_LOOK_FIRST
        while connection.unsent() and not connection.lost and not self._expired:
            await asyncio.sleep(delay)
            delay = min(delay * 2, _FLUSH_LOOK_LONGEST)
        connection.reset()


def _close_or_reset(connection: StreamConnection) -> None:
    """Close in good order if all was delivered; a FIN behind lost bytes would be a lie."""
    if connection.buffered():
        connection.reset()
    else:
        connection.close()

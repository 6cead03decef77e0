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
        self._expired: Termination | None = None
        self._first_reset: Termination | None = None

    async def run(self) -> Termination:
        """Relay until the session is over, then end both connections as its end demands."""
        client, backend = self._client, self._backend
        self._up = asyncio.create_task(pump(client, backend, self._flow.up), name="pump up")
        self._down = asyncio.create_task(pump(backend, client, self._flow.down), name="pump down")
        try:
            termination = await self._until_over()
            await self._end(termination)
        finally:
            self._idle.forget(self)
            self._half_closed.forget(self)
            await self._stop_pumps()
        return termination

    async def _until_over(self) -> Termination:
        pumps = {self._up, self._down}
        self._idle.watch(self)
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        self._first_reset = self._reset_by()
        self._idle.forget(self)
        self._half_closed.watch(self)
        if self._expired is None and not self._a_reset_was_read():
            await asyncio.wait(pumps)
        await self._stop_pumps()
        return self._expired or self._first_reset or self._reset_by() or Termination.NORMAL

    def _a_reset_was_read(self) -> bool:
        """If so, all is over at once: the other pump has nobody left to send to."""
        ends = (_end_of(self._up), _end_of(self._down))
        return PumpEnd.SOURCE_RESET in ends

    def _reset_by(self) -> Termination | None:
        """Return who has reset the connection, as far as the pumps have met it."""
        up, down = _end_of(self._up), _end_of(self._down)
        if up is PumpEnd.SOURCE_RESET or down is PumpEnd.SINK_RESET:
            return Termination.CLIENT_RESET
        if down is PumpEnd.SOURCE_RESET or up is PumpEnd.SINK_RESET:
            return Termination.BACKEND_RESET
        return None

    async def _stop_pumps(self) -> None:
        self._up.cancel()
        self._down.cancel()
        await asyncio.wait({self._up, self._down})

    # -- time-outs (called by QuietTimer) -----------------------------------------------------

    def progress(self) -> int:
        """Return a number that changes when a byte moves, be it only out of the send queues."""
        unsent = self._client.unsent() + self._backend.unsent()
        return self._flow.up.moved + self._flow.down.moved - unsent

    def expire(self) -> None:
        """Give up: nothing moves any more."""
        if self._expired is not None:
            return
        if not (self._up.done() or self._down.done()):
            self._expired = Termination.IDLE
        elif self._up.done():
            self._expired = Termination.BACKEND_STAYED_OPEN
        else:
            self._expired = Termination.CLIENT_STAYED_OPEN
        self._up.cancel()
        self._down.cancel()

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
        delay = _FLUSH_LOOK_FIRST
        while connection.unsent() and not connection.lost and self._expired is None:
            await asyncio.sleep(delay)
            delay = min(delay * 2, _FLUSH_LOOK_LONGEST)
        connection.reset()


def _end_of(pump_task: asyncio.Task[PumpEnd]) -> PumpEnd | None:
    if not pump_task.done() or pump_task.cancelled():
        return None
    return pump_task.result()


def _close_or_reset(connection: StreamConnection) -> None:
    """Close in good order if all was delivered; a FIN behind lost bytes would be a lie."""
    if connection.buffered():
        connection.reset()
    else:
        connection.close()

"""A session's relay on the `streams` engine: two pumps, a task each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tcplb.dataplane.engine import FirstByte
from tcplb.dataplane.quiet import QuietTimers
from tcplb.dataplane.relay import PumpEnd, Relay
from tcplb.dataplane.stream_connection import StreamConnection
from tcplb.dataplane.termination import Termination


async def pump(
    source: StreamConnection, sink: StreamConnection, spoke: Callable[[], None]
) -> PumpEnd:
    """Carry bytes from `source` to `sink` until one of them ends. At most one chunk is held.

    `spoke` is called when the first bytes have come.
    """
    while True:
        try:
            data = await source.receive()
        except ConnectionResetError:
            return PumpEnd.SOURCE_RESET
        if not data:
            return PumpEnd.FIN
        if not source.moved:
            spoke()
        try:
            await sink.send(data)
        except ConnectionResetError:
            return PumpEnd.SINK_RESET
        source.moved += len(data)


class StreamsRelay(Relay[StreamConnection]):
    """Carries the bytes of one session."""

    __slots__ = ("_down", "_over", "_up")

    def __init__(
        self, client: StreamConnection, backend: StreamConnection, timers: QuietTimers
    ) -> None:
        super().__init__(client, backend, timers)
        self._over: asyncio.Future[Termination] = asyncio.get_running_loop().create_future()
        self._up: asyncio.Task[PumpEnd]
        self._down: asyncio.Task[PumpEnd]

    async def run(self, first_byte: FirstByte | None = None) -> Termination:
        """Relay until the session is over, then end both connections as its end demands."""
        client, backend = self.client, self.backend
        since = time.monotonic()

        def client_spoke() -> None:
            nonlocal since  # a backend that has nothing to answer yet is not slow
            since = time.monotonic()

        def backend_spoke() -> None:
            if first_byte is not None:
                first_byte(max(0.0, time.monotonic() - since))

        self._up = asyncio.create_task(pump(client, backend, client_spoke), name="pump up")
        self._down = asyncio.create_task(pump(backend, client, backend_spoke), name="pump down")
        self._up.add_done_callback(self._task_done)
        self._down.add_done_callback(self._task_done)
        self._timer.watch(self)
        try:
            termination = await self._over
            await self._stop_pumps()
            await self._end(termination)
            await client.wait_closed()
            await backend.wait_closed()
        finally:
            self._timer.forget(self)
            await self._stop_pumps()
        return termination

    def _task_done(self, ended: asyncio.Task[PumpEnd]) -> None:
        if ended.cancelled() or self._over.done():
            return
        if (bug := ended.exception()) is not None:
            self._over.set_exception(bug)
            return
        self.pump_ended(self.client if ended is self._up else self.backend, ended.result())

    async def _stop_pumps(self) -> None:
        running = {pump_task for pump_task in (self._up, self._down) if not pump_task.done()}
        if running:
            for pump_task in running:
                pump_task.cancel()
            await asyncio.wait(running)

    def _wake(self, termination: Termination) -> None:
        if not self._over.done():
            self._over.set_result(termination)

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

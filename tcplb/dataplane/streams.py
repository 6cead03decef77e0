"""The `streams` engine: asyncio transports, a task a pump. It runs anywhere asyncio does."""

from __future__ import annotations

import asyncio
from functools import partial
from socket import SocketType, socket
from typing import cast

from tcplb.dataplane.dial import connect, outcome_of
from tcplb.dataplane.engine import Connection, FirstByte, LateDial, Life
from tcplb.dataplane.quiet import QuietTimers
from tcplb.dataplane.stream_connection import StreamConnection
from tcplb.dataplane.streams_relay import StreamsRelay
from tcplb.dataplane.termination import Termination
from tcplb.policy.backend import Backend
from tcplb.policy.outcome import Outcome


class StreamsEngine:
    """Moves bytes with one `StreamConnection` a side and one `StreamsRelay` a session."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._late_dials: set[asyncio.Task[Connection | Outcome]] = set()

    def start(self, life: Life) -> asyncio.Task[None]:
        """Run a session as a task of its own."""
        return self._loop.create_task(life, name="session")

    def cancel(self, started: asyncio.Task[None]) -> None:
        """Cancel a session's task."""
        started.cancel()

    async def adopt(self, client: SocketType) -> Connection:
        """Take over an accepted socket."""
        sock = socket(fileno=client.detach())
        sock.setblocking(False)
        return await StreamConnection.over(sock)

    async def dial(self, backend: Backend, timeout: float) -> Connection | Outcome:
        """Connect to `backend` within `timeout` seconds, or say why not."""
        try:
            async with asyncio.timeout(timeout):
                return await StreamConnection.over(await connect(backend))
        except OSError as error:  # TimeoutError is one
            return outcome_of(error)

    async def dial_on_trial(
        self,
        backend: Backend,
        timeout: float,
        *,
        patience: float,
        late: LateDial,
    ) -> Connection | Outcome | None:
        """Dial, but return None after `patience` seconds and let `late` hear of the end."""
        dial = asyncio.create_task(self.dial(backend, timeout), name=f"trial of {backend}")
        try:
            done, _ = await asyncio.wait({dial}, timeout=patience)
        except asyncio.CancelledError:
            self._leave_to(late, dial)
            raise
        if done and dial.exception() is None:
            return dial.result()
        self._leave_to(late, dial)
        return None

    async def relay(
        self,
        client: Connection,
        backend: Connection,
        timers: QuietTimers,
        first_byte: FirstByte | None = None,
    ) -> Termination:
        """Carry bytes both ways until the session is over; tell `first_byte`, if it is given."""
        relay = StreamsRelay(
            cast(StreamConnection, client),  # both were made by `adopt` and `dial` above
            cast(StreamConnection, backend),
            timers,
        )
        return await relay.run(first_byte)

    async def shutdown(self) -> None:
        """Give up the late dials."""
        dials = tuple(self._late_dials)
        for dial in dials:
            dial.cancel()
        await asyncio.gather(*dials, return_exceptions=True)

    def _leave_to(self, late: LateDial, dial: asyncio.Task[Connection | Outcome]) -> None:
        # A callback and not a task that awaits the dial: `late` is told however the dial ends, even
        # if `shutdown` comes before such a task has begun.
        self._late_dials.add(dial)
        dial.add_done_callback(partial(self._finish_late, late))

    def _finish_late(self, late: LateDial, dial: asyncio.Task[Connection | Outcome]) -> None:
        self._late_dials.discard(dial)
        try:
            result = dial.result()
        except asyncio.CancelledError:
            late(Outcome.ABANDONED)
        except BaseException:
            late(Outcome.ABANDONED)
            raise  # a bug: the loop logs it
        else:
            late(result)

"""A session's relay on the `splice` engine: two pump coroutines that the poller drives."""

from __future__ import annotations

from collections.abc import Generator
from socket import SO_KEEPALIVE, SOL_SOCKET
from types import coroutine

from tcplb.dataplane.engine import FirstByte
from tcplb.dataplane.first_byte import listen_for_first_byte
from tcplb.dataplane.pipes import PipePool
from tcplb.dataplane.poller import Attach, Waiting, resume
from tcplb.dataplane.relay import NORMAL, Relay
from tcplb.dataplane.splice_connection import SpliceConnection
from tcplb.dataplane.splice_pump import Pump, pump
from tcplb.dataplane.termination import Termination


class SpliceRelay(Relay[SpliceConnection]):
    """Carries the bytes of one session."""

    __slots__ = ("_session",)

    _session: Waiting | None

    async def run(self, pipes: PipePool, first_byte: FirstByte | None = None) -> Termination:
        """Relay until the session is over, then end both connections as its end demands."""
        client, backend, ended = self.client, self.backend, self.pump_ended
        self._session = None
        up = client.reader = backend.writer = pump(client, backend, pipes, ended)
        down = backend.reader = client.writer = pump(backend, client, pipes, ended)
        self._timer.watch(self)
        if first_byte is not None:
            listen_for_first_byte(client, backend, first_byte)
        try:
            # A pump takes its first step now, or with the first event of input.
            if client.readable:
                resume(client.reader)
            else:
                client.wants_input = True
            if backend.readable:
                resume(backend.reader)
            else:
                backend.wants_input = True
            termination = self.termination or await self._until_over()
            if termination is NORMAL:  # both pumps have ended, all was taken
                client.close()
                backend.close()
            else:
                self._stop(up, down)
                await self._end(termination)
        except BaseException:
            self._stop(up, down)
            raise
        finally:
            self._timer.forget(self)
            if self._first_end is not None:
                self._first_end.on_lost = None
            if first_byte is not None:  # who still listens and is its connection's reader: a cycle
                client.reader, backend.reader = up, down
        return termination

    def _stop(self, up: Pump, down: Pump) -> None:
        """End the pumps where they wait, but not one that is just telling its end."""
        if self._last_end is not self.client:
            up.close()
        if self._last_end is not self.backend:
            down.close()

    @coroutine
    def _until_over(self) -> Generator[Attach, None, Termination]:
        yield self._set_session
        return self.termination or Termination.BUG

    def _set_session(self, waiting: Waiting) -> None:
        self._session = waiting

    def _wake(self, termination: Termination) -> None:
        if self._session is not None:
            resume(self._session)

    def _half_closed(self, source: SpliceConnection) -> None:
        # Its pump has ended and reads no more, so a reset from there is heard of in this way only.
        source.on_lost = self.side_lost
        if source.lost:
            self.side_lost(source)

    def progress(self) -> int:
        """Return a number that changes when a byte moves. Also the first sign of a quiet time."""
        # Only now: most connections end long before, and it is a system call for each. (The
        # client's end inherits it from the listening socket.)
        if not self.backend.closed:
            self.backend.socket.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
        return super().progress()

    async def _sleep(self, seconds: float) -> None:
        await self.client.poller.sleep(seconds)

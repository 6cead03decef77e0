"""The data plane of one process: its listeners, and every session that is open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from socket import SocketType, socket

from tcplb.dataplane.counters import Counters
from tcplb.dataplane.dial import SocketAddress
from tcplb.dataplane.engine import Engine
from tcplb.dataplane.gate import Gate, Seats
from tcplb.dataplane.listener import Listener
from tcplb.dataplane.session import Frontend, Session


class DataPlane:
    """Starts a session for each accepted connection, owns its task, and ends them all."""

    def __init__(
        self,
        engines: Iterable[Engine],
        max_connections: int,
        counters: Counters,
        seats: Seats | None = None,
    ) -> None:
        self._engines = tuple(engines)
        self._counters = counters
        self._gate = Gate(max_connections, counters, time.monotonic, seats)
        self._listeners: list[Listener] = []
        self._sessions: set[Session] = set()
        self._empty = asyncio.Event()

    @property
    def open_sessions(self) -> int:
        """The number of sessions that have not ended."""
        return len(self._sessions)

    def listen(self, sock: socket, frontend: Frontend) -> Listener:
        """Begin to accept from `sock` (bound, listening, non-blocking), which is ours from now."""

        def accepted(client: SocketType, address: SocketAddress) -> None:
            session = Session(frontend, client, address, self._ended)
            self._sessions.add(session)
            self._counters.active += 1
            session.started = frontend.engine.start(session.run())

        listener = Listener(sock, self._gate, self._counters, accepted)
        self._listeners.append(listener)
        listener.start()
        return listener

    def stop_listening(self) -> None:
        """Accept no more connections than are waiting now."""
        for listener in self._listeners:
            listener.stop()

    async def wait_empty(self) -> None:
        """Wait until no session is open."""
        while self._sessions:
            self._empty.clear()
            await self._empty.wait()

    async def close(self) -> int:
        """Cut off the sessions that are still open; return how many there were."""
        self.stop_listening()
        # Those accepted just now begin first: a task cancelled before its first step runs nothing
        # of its coroutine, so their sockets would stay open and nothing would be logged.
        await asyncio.sleep(0)
        cut = list(self._sessions)
        for session in cut:
            session.cancel()
        await self.wait_empty()
        for engine in self._engines:
            await engine.shutdown()
        return len(cut)

    def _ended(self, session: Session) -> None:
        self._sessions.remove(session)
        self._counters.active -= 1
        if not self._sessions:
            self._empty.set()
        self._gate.leave()

"""The data plane of one process: its listeners, and every session that is open."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from socket import socket

from tcplb.dataplane.counters import Counters
from tcplb.dataplane.engine import Engine
from tcplb.dataplane.gate import Gate
from tcplb.dataplane.listener import Listener
from tcplb.dataplane.session import Frontend, Session

log = logging.getLogger("tcplb.session")


class DataPlane:
    """Starts a session for each accepted connection, owns its task, and ends them all."""

    def __init__(self, engines: Iterable[Engine], max_connections: int, counters: Counters) -> None:
        self._engines = tuple(engines)
        self._counters = counters
        self._gate = Gate(max_connections, counters, time.monotonic)
        self._listeners: list[Listener] = []
        self._sessions: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def open_sessions(self) -> int:
        """The number of sessions that have not ended."""
        return len(self._sessions)

    def listen(self, sock: socket, frontend: Frontend) -> None:
        """Begin to accept from `sock` (bound, listening, non-blocking), which is ours from now."""

        def accepted(client: socket, address: tuple[str, int]) -> None:
            self._start(Session(frontend, client, address))

        listener = Listener(sock, self._gate, self._counters, accepted)
        self._listeners.append(listener)
        listener.start()

    def stop_listening(self) -> None:
        """Accept no more connections than are waiting now."""
        for listener in self._listeners:
            listener.stop()

    async def wait_empty(self) -> None:
        """Wait until no session is open."""
        await self._empty.wait()

    async def close(self) -> int:
        """Cut off the sessions that are still open; return how many there were."""
        self.stop_listening()
        # Those accepted just now begin first: a task cancelled before its first step runs nothing
        # of its coroutine, so their sockets would stay open and nothing would be logged.
        await asyncio.sleep(0)
        cut = list(self._sessions)
        for task in cut:
            task.cancel()
        await asyncio.gather(*cut, return_exceptions=True)
        for engine in self._engines:
            await engine.shutdown()
        return len(cut)

    def _start(self, session: Session) -> None:
        task = asyncio.create_task(session.run(), name="session")
        self._sessions.add(task)
        self._empty.clear()
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sessions.discard(task)
        if not self._sessions:
            self._empty.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("internal error in a session; the others go on", exc_info=error)
        self._gate.leave()

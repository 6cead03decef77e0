"""The data plane of one process: its listeners, and every session that is open."""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import Iterable
from socket import SO_LINGER, SOL_SOCKET, SocketType, socket

from tcplb.dataplane.counters import Counters
from tcplb.dataplane.dial import SocketAddress
from tcplb.dataplane.engine import Engine
from tcplb.dataplane.frontend import Frontend
from tcplb.dataplane.gate import Gate, Seats
from tcplb.dataplane.listener import Listener
from tcplb.dataplane.record import Active, Record
from tcplb.dataplane.session import Session
from tcplb.dataplane.termination import Termination

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds

log = logging.getLogger("tcplb.session")


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
        self._gates: dict[str, Gate] = {}
        """Those of the listeners that have a limit of their own, by name."""
        self._listeners: list[Listener] = []
        self._sessions: set[Session] = set()
        self._empty = asyncio.Event()

    @property
    def open_sessions(self) -> int:
        """The number of sessions that have not ended."""
        return len(self._sessions)

    def listen(self, sock: socket, frontend: Frontend) -> Listener:
        """Begin to accept from `sock` (bound, listening, non-blocking), which is ours from now.

        All sockets of one frontend share the limits of its `admission`.
        """
        admission, gate = frontend.admission, self._gate_of(frontend)

        def accepted(client: SocketType, address: SocketAddress) -> bool:
            if admission.selective:
                refusal = admission.refusal(address[0], frontend.clock())
                if refusal is not None:
                    _refuse(frontend, client, address, refusal)
                    return False
            session = Session(frontend, client, address, ended)
            self._sessions.add(session)
            self._counters.active += 1
            session.started = frontend.engine.start(session.run())
            return True

        def ended(session: Session) -> None:
            self._sessions.remove(session)
            self._counters.active -= 1
            if not self._sessions:
                self._empty.set()
            gate.leave()

        listener = Listener(
            sock,
            gate,
            self._counters,
            accepted,
            name=_name(frontend),
            rate=admission.rate,
            clock=frontend.clock,
        )
        self._listeners.append(listener)
        listener.start()
        return listener

    def _gate_of(self, frontend: Frontend) -> Gate:
        """Return the gate for all sockets of a frontend: its own only if it has a limit."""
        limit, seats = frontend.admission.max_connections, frontend.admission.seats
        if not limit:
            return self._gate
        if frontend.name not in self._gates:
            self._gates[frontend.name] = Gate(
                limit,
                self._counters,
                time.monotonic,
                seats,
                name=_name(frontend),
                parent=self._gate,
            )
        return self._gates[frontend.name]

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


def _name(frontend: Frontend) -> str:
    return f"listener {frontend.name}"


def _refuse(
    frontend: Frontend, client: SocketType, address: SocketAddress, refusal: Termination
) -> None:
    """Reset a client that gets no session, count it and log it."""
    client.setsockopt(SOL_SOCKET, SO_LINGER, _RESET_ON_CLOSE)
    client.close()
    if refusal is Termination.DENIED:
        frontend.counters.denied += 1
    else:
        frontend.counters.too_fast += 1
    if frontend.record is None:
        return
    try:
        frontend.record(_record_of_refused(frontend, address, refusal))
    except Exception:
        log.exception("internal error in a refusal; the other connections go on")


def _record_of_refused(frontend: Frontend, address: SocketAddress, refusal: Termination) -> Record:
    now = frontend.clock()
    return Record(
        frontend.wall_clock(),
        now,
        frontend.name,
        frontend.pool.name,
        address[0],
        address[1],
        ended=now,
        # It counts itself, as a session does, but for the pool it has never been there.
        active=Active(frontend.counters.active + 1, frontend.active + 1),
        termination=refusal,
    )

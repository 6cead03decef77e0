"""The data plane of one process: its listeners, and every session that is open."""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import Collection, Iterable, Mapping
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
        """Take in `max_connections` at once; `engines` may grow, and are those that are ended."""
        self._engines = engines
        self._counters = counters
        self._gate = Gate(max_connections, counters, time.monotonic, seats)
        self._entrances: dict[Frontend, _Entrance] = {}
        self._listeners: set[Listener] = set()
        self._sessions: dict[int, Session] = {}
        self._empty = asyncio.Event()

    # -- sessions -----------------------------------------------------------------------------

    @property
    def open_sessions(self) -> int:
        """The number of sessions that have not ended."""
        return len(self._sessions)

    @property
    def sessions(self) -> Mapping[int, Session]:
        """The sessions that have not ended by their numbers, the oldest first."""
        return self._sessions

    def begin(self, session: Session) -> None:
        """Let a new session run. Its number is that of the connection, from 1."""
        session.number = number = self._counters.accepted
        self._sessions[number] = session
        self._counters.active += 1
        session.frontend.active += 1  # now: a task begins later, when a reload may have come
        session.started = session.frontend.engine.start(session.run())

    def end(self, session: Session) -> None:
        """Note that a session is over."""
        del self._sessions[session.number]
        self._counters.active -= 1
        if not self._sessions:
            self._empty.set()

    # -- listeners ----------------------------------------------------------------------------

    def listen(self, sock: socket, frontend: Frontend) -> Listener:
        """Begin to accept from `sock` (bound, listening, non-blocking), which is ours from now.

        All sockets of one frontend share the limits of its `admission`.
        """
        entrance = self._entrance(frontend)
        listener = Listener(
            sock,
            entrance.gate,
            self._counters,
            entrance.accept,
            name=_name(frontend),
            rate=frontend.admission.rate,
            clock=frontend.clock,
        )
        self._listeners.add(listener)
        listener.start()
        return listener

    def move(self, listener: Listener, frontend: Frontend) -> None:
        """Let what `listener` accepts from now on be for another frontend."""
        entrance = self._entrance(frontend)
        listener.serve(entrance.gate, entrance.accept, _name(frontend), frontend.admission.rate)

    def close(self, listener: Listener) -> None:
        """Accept no more connections from `listener` than are waiting now."""
        self._listeners.discard(listener)
        listener.stop()

    def hand_back(self, listener: Listener) -> None:
        """Accept nothing more from `listener`: others have its socket."""
        self._listeners.discard(listener)
        listener.hand_back()

    def stop_listening(self) -> None:
        """Accept no more connections than are waiting now."""
        for listener in self._listeners:
            listener.stop()

    def _entrance(self, frontend: Frontend) -> _Entrance:
        if frontend not in self._entrances:
            self._entrances[frontend] = _Entrance(self, frontend, self._gate_of(frontend))
        return self._entrances[frontend]

    def _gate_of(self, frontend: Frontend) -> Gate:
        """Return the gate for all sockets of a frontend: its own only if it has a limit."""
        admission = frontend.admission
        if not admission.max_connections:
            return self._gate
        return Gate(
            admission.max_connections,
            self._counters,
            time.monotonic,
            admission.seats,
            name=_name(frontend),
            parent=self._gate,
        )

    def keep(
        self, frontends: Collection[Frontend], max_connections: int, seats: Seats | None
    ) -> None:
        """Go by another limit, and know only these frontends. Sessions of others go on."""
        self._entrances = {
            frontend: entrance
            for frontend, entrance in self._entrances.items()
            if frontend in frontends
        }
        self._gate.change(max_connections, seats)

    # -- the end ------------------------------------------------------------------------------

    async def wait_empty(self) -> None:
        """Wait until no session is open."""
        while self._sessions:
            self._empty.clear()
            await self._empty.wait()

    async def shut_down(self) -> int:
        """Cut off the sessions that are still open; return how many there were."""
        self.stop_listening()
        # Those accepted just now begin first: a task cancelled before its first step runs nothing
        # of its coroutine, so their sockets would stay open and nothing would be logged.
        await asyncio.sleep(0)
        cut = list(self._sessions.values())
        for session in cut:
            session.cancel()
        await self.wait_empty()
        for engine in self._engines:
            await engine.shutdown()
        return len(cut)


class _Entrance:
    """Where the connections of one frontend come in: past its rules, and out through its gate."""

    def __init__(self, plane: DataPlane, frontend: Frontend, gate: Gate) -> None:
        self.gate = gate
        self._plane = plane
        self._frontend = frontend
        self._admission = frontend.admission

    def accept(self, client: SocketType, address: SocketAddress) -> bool:
        """Begin a session for a new connection; False if it is refused."""
        frontend = self._frontend
        if self._admission.selective:
            refusal = self._admission.refusal(address[0], frontend.clock())
            if refusal is not None:
                _refuse(frontend, client, address, refusal)
                return False
        self._plane.begin(Session(frontend, client, address, self._ended))
        return True

    def _ended(self, session: Session) -> None:
        self._plane.end(session)
        self.gate.leave()


def _name(frontend: Frontend) -> str:
    return f"listener {frontend.name}"


def _refuse(
    frontend: Frontend, client: SocketType, address: SocketAddress, refusal: Termination
) -> None:
    """Reset a client that gets no session, count it and log it."""
    client.setsockopt(SOL_SOCKET, SO_LINGER, _RESET_ON_CLOSE)
    client.close()
    frontend.unrouted.count_end(refusal, 0.0)
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
        active=Active(frontend.counters.active + 1, frontend.all_active + 1),
        termination=refusal,
    )

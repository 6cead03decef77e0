"""One backend: accepts, finds out what the client speaks, and answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import Self

from echo_backends.connection import Connection, LimitReached
from echo_backends.faults import Faults
from echo_backends.http import HttpResponder
from echo_backends.naming import QUESTION, answer
from echo_backends.sniff import Speech, sniff

HOLD = 0.2
"""Seconds for which bytes that may or may not begin a request are held, before they are echoed."""

BACKLOG = 4096
ACCEPTS_PER_TURN = 64
ACCEPT_PAUSE = 0.1
"""Seconds without accepting after an accept failed for want of descriptors or memory."""

_log = logging.getLogger(__name__)


class EchoServer:
    """A backend on one port of this process.

        async with EchoServer(Faults(delay=0.05)) as server:
            ...  # talk to server.host, server.port

    Attributes: `connections` accepted so far, `requests` that got an HTTP answer so far and
    `names_asked`, how often a client asked for the name (both counted just before the answer's
    delay), `echoed`, the bytes echoed on raw connections, and `faults`, which may be replaced:
    connections accepted from then on have the new ones (except `refuse`, which only counts at the
    start).
    """

    def __init__(
        self,
        faults: Faults | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        hold: float = HOLD,
    ) -> None:
        """Prepare; nothing is bound before start()."""
        self.faults = faults or Faults()
        self.host = host
        self.port = port
        self.connections = 0
        self.requests = 0
        self.names_asked = 0
        self.echoed = 0
        self._hold = hold
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        """Host and port as they are written: `127.0.0.1:8081`, `[::1]:8081`."""
        return format_address(self.host, self.port)

    @property
    def open_connections(self) -> int:
        """Connections that have not ended yet."""
        return len(self._tasks)

    async def start(self) -> None:
        """Bind and listen. `host` and `port` are the real ones afterwards.

        Raises OSError if the address cannot be resolved or bound.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            self._listen(listener, address)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self.host, self.port = listener.getsockname()[:2]
        if not self.faults.refuse:
            loop.add_reader(listener, self._accept, listener)

    async def close(self) -> None:
        """Stop listening and end every connection at once. May be called again."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        if self._pause is not None:
            self._pause.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close."""
        await self.close()

    def _listen(self, listener: socket.socket, address: tuple[object, ...]) -> None:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What is accepted inherits it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
        if not self.faults.refuse:
            listener.listen(BACKLOG)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                client, _ = listener.accept()
            except (BlockingIOError, ConnectionError):
                return  # Nobody is waiting, or the one who was has left.
            except OSError as error:
                self._pause_accepting(listener, error)
                return
            client.setblocking(False)
            self.connections += 1
            name = f"connection {self.connections} of {self.address}"
            task = asyncio.create_task(self._serve(Connection(client, self.faults)), name=name)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _pause_accepting(self, listener: socket.socket, error: OSError) -> None:
        # The client goes on waiting in the backlog, so trying again at once would spin.
        _log.warning("%s cannot accept: %s", self.address, error.strerror)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        self._pause = loop.call_later(
            ACCEPT_PAUSE, loop.add_reader, listener, self._accept, listener
        )

    async def _serve(self, connection: Connection) -> None:
        try:
            with contextlib.suppress(LimitReached):
                await self._converse(connection)
            await connection.end()
        except OSError as error:
            # The client reset the connection or went away, which is its right.
            _log.debug("%s lost a client: %s", self.address, error)
        finally:
            connection.close()

    async def _converse(self, connection: Connection) -> None:
        faults = connection.faults
        if faults.stall:
            await asyncio.Event().wait()  # Until close() cancels it.
        # Sent even if empty, because a limit of 0 bytes is reached right here.
        await connection.send(faults.greeting)
        speech, data = await self._first_bytes(connection)
        if speech is Speech.HTTP:
            await self._answer(connection, data, faults.delay)
            return
        if speech is Speech.NAMING:
            data = await self._say_name(connection, data, faults.delay)
        await self._echo(connection, data, faults.delay)

    async def _first_bytes(self, connection: Connection) -> tuple[Speech, bytes]:
        held = await connection.receive()
        deadline = asyncio.get_running_loop().time() + self._hold
        while (speech := sniff(held)) is Speech.UNDECIDED:
            try:
                data = await connection.receive(deadline)
            except TimeoutError:
                return Speech.RAW, held
            if not data:
                return Speech.RAW, held
            held += data
        return speech, held

    async def _echo(self, connection: Connection, data: bytes, delay: float) -> None:
        while data:
            if delay:
                await asyncio.sleep(delay)
            before = connection.sent
            try:
                await connection.send(data)
            finally:
                self.echoed += connection.sent - before
            data = await connection.receive()

    async def _say_name(self, connection: Connection, data: bytes, delay: float) -> bytes:
        """Answer the question at the start of `data`; return what the client says after it."""
        self.names_asked += 1
        if delay:
            await asyncio.sleep(delay)
        await connection.send(answer(self.address))
        return data.removeprefix(QUESTION) or await connection.receive()

    async def _answer(self, connection: Connection, data: bytes, delay: float) -> None:
        responder = HttpResponder(self.port, self.address)
        while True:
            for reply in responder.feed(data):
                if not reply.interim:
                    self.requests += 1
                    await asyncio.sleep(delay)
                await connection.send(reply.data)
                if reply.last:
                    return
            if not data:
                return
            data = await connection.receive()


def format_address(host: str, port: int) -> str:
    """`host:port`, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

"""Accepts admin clients, so many at once and no more.

When there are that many, the oldest one that has not asked for anything makes room: or whoever
holds connections and says nothing could keep an orchestrator from asking whether all is well.

`loop.create_server` accepts without a limit, and counts nothing before a TLS handshake is over. So
the sockets are accepted here, and each one counts from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable

from tcplb.control.admin.connection import Connection, Deadlines

log = logging.getLogger("tcplb.admin")

_AT_ONCE = 16  # accepted in one turn of the loop, which has other things to do
_PAUSE = 1.0  # seconds, when the system has no descriptor to give
_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nServer: tcplb\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 21\r\n\r\ntoo many connections\n"
)

Serve = Callable[[Callable[[], None]], Connection]
"""Makes the protocol of a connection; it is given what it is to call when it is lost."""


class _Client:
    """One who is connected, from the accept on."""

    def __init__(self) -> None:
        self.begin: asyncio.Task[None] | None = None
        self.connection: Connection | None = None
        """None until a TLS handshake is over."""

    def makes_room(self) -> bool:
        """End the connection if nothing was asked on it; return whether that is so."""
        if self.connection is not None:
            if self.connection.is_answering:
                return False
            self.connection.abort()
        elif self.begin is not None:
            self.begin.cancel()
        return True


class Acceptor:
    """Accepts on a listening socket, which stays the caller's."""

    def __init__(
        self,
        sock: socket.socket,
        serve: Serve,
        *,
        tls: ssl.SSLContext | None,
        most: int,
        deadlines: Deadlines,
    ) -> None:
        """Serve at most `most` connections at once. Further ones take the place of such as ask
        nothing, or are turned away.
        """
        self._sock = sock
        self._serve = serve
        self._tls = tls
        self._most = most
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self._open: dict[socket.socket, _Client] = {}
        self._beginning: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """How many are open, those in a TLS handshake too."""
        return len(self._open)

    def start(self) -> None:
        """Begin to accept."""
        self._sock.setblocking(False)
        self._resume()

    async def stop(self) -> None:
        """Accept no more; connections that are open stay so."""
        self._loop.remove_reader(self._sock)
        if self._pause is not None:
            self._pause.cancel()
        for task in self._beginning:
            task.cancel()
        await asyncio.gather(*self._beginning, return_exceptions=True)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                client, _address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._wait(error)
                return
            self._begin(client)

    def _wait(self, error: OSError) -> None:
        log.warning("the admin port cannot accept connections: %s", error.strerror)
        self._loop.remove_reader(self._sock)
        self._pause = self._loop.call_later(_PAUSE, self._resume)

    def _begin(self, client: socket.socket) -> None:
        client.setblocking(False)
        if len(self._open) >= self._most and not self._makes_room():
            self._turn_away(client)
            return
        accepted = self._open[client] = _Client()
        task = self._loop.create_task(self._connect(client, accepted), name="admin connection")
        accepted.begin = task
        self._beginning.add(task)

        def begun(task: asyncio.Task[None]) -> None:
            self._beginning.discard(task)
            # A task that is cancelled before its first step runs nothing of its coroutine.
            if task.cancelled():
                self._forget(client)
                client.close()

        task.add_done_callback(begun)

    def _makes_room(self) -> bool:
        for client, accepted in self._open.items():
            if accepted.makes_room():
                del self._open[client]
                return True
        return False

    def _forget(self, client: socket.socket) -> None:
        self._open.pop(client, None)

    def _turn_away(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self._tls is None:
                client.send(_TOO_MANY)

    async def _connect(self, client: socket.socket, accepted: _Client) -> None:
        handshake = self._deadlines.request if self._tls else None
        shutdown = self._deadlines.close if self._tls else None
        try:
            _, accepted.connection = await self._loop.connect_accepted_socket(
                lambda: self._serve(lambda: self._forget(client)),
                client,
                ssl=self._tls,
                ssl_handshake_timeout=handshake,
                ssl_shutdown_timeout=shutdown,
            )
        except (OSError, TimeoutError):
            # A handshake that failed is the client's business, and no news.
            self._forget(client)
            client.close()

"""The admin port's HTTP server.

It runs on the supervisor's loop, beside the active checks, and so nothing in it blocks, whatever a
client does or does not do: connections, streams, requests and the time for each are bounded. While
nobody asks, it does nothing at all.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from aiohttp import web

from tcplb.config.admin import UNIX, AdminConfig
from tcplb.control.admin.acceptor import Acceptor
from tcplb.control.admin.application import Site
from tcplb.control.admin.audit import Audit
from tcplb.control.admin.connection import Connection, Deadlines
from tcplb.control.admin.control import Control
from tcplb.control.admin.event_stream import EventStreams
from tcplb.control.admin.listening import (
    bound_to,
    is_of_this_machine,
    known_hosts,
    open_admin_socket,
    remove_unix_socket,
    tls_context,
)
from tcplb.control.admin.page import read_files
from tcplb.control.admin.security import Security


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the server takes on."""

    connections: int = 64
    streams: int = 16
    keep_alive: float = 15.0
    """Seconds without a message, after which a stream shows that it is still there."""
    deadlines: Deadlines = field(default_factory=Deadlines)


class AdminServer:
    """Serves a `Control` over HTTP."""

    def __init__(
        self,
        control: Control,
        config: AdminConfig,
        *,
        token: str,
        metrics: Callable[[], bytes] | None = None,
        sock: socket.socket | None = None,
        bounds: Bounds | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`token` is what changes need (see `token.find_or_make_token`), `metrics` gives the text
        of /metrics, and `sock` is a listening socket to use instead of a new one; it becomes the
        server's. `now` gives seconds.
        """
        self._control = control
        self._config = config
        self._token = token
        self._metrics = metrics
        self._sock = sock
        self._bounds = bounds or Bounds()
        self._now = now
        self._streams: EventStreams | None = None
        self._acceptor: Acceptor | None = None
        self._runner: web.AppRunner | None = None

    @property
    def socket(self) -> socket.socket:
        """The listening socket, once it is started."""
        if self._sock is None:
            raise RuntimeError("the server was not started")
        return self._sock

    @property
    def address(self) -> str:
        """Where it is once it is started: ``http://127.0.0.1:9091``, ``unix:/run/x.sock``."""
        bound = bound_to(self.socket)
        scheme = "http" if self._config.tls_certificate is None else "https"
        return bound if bound.startswith(UNIX) else f"{scheme}://{bound}"

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return 0 if self._acceptor is None else self._acceptor.connections

    async def start(self) -> None:
        """Listen and serve. Raises BindError, and OSError for a dashboard that cannot be read."""
        tls = tls_context(self._config)
        files = read_files()
        if self._sock is None:
            self._sock = open_admin_socket(self._config.bind)
        self._streams = EventStreams(most=self._bounds.streams, keep_alive=self._bounds.keep_alive)
        site = Site(
            self._control,
            security=self._security(),
            audit=Audit(self._now),
            streams=self._streams,
            files=files,
            metrics=self._metrics,
        )
        self._runner = web.AppRunner(
            site.application(), access_log=None, shutdown_timeout=self._bounds.deadlines.close
        )
        await self._runner.setup()
        server, loop = cast("web.Server", self._runner.server), asyncio.get_running_loop()

        def serve(lost: Callable[[], None]) -> Connection:
            return Connection(server, loop, self._bounds.deadlines, lost)

        self._acceptor = Acceptor(
            self._sock,
            serve,
            tls=tls,
            most=self._bounds.connections,
            deadlines=self._bounds.deadlines,
        )
        self._acceptor.start()

    async def close(self, *, handed_over: bool = False) -> None:
        """End all streams and connections, in a few seconds whatever their clients do.

        A Unix socket's file stays if the socket was `handed_over` to another process, and who has
        just come here by chance is answered: the port is open all the time.
        """
        if self._acceptor is not None:
            await self._acceptor.stop()
        if self._streams is not None:
            self._streams.close()
        if self._runner is not None:
            if handed_over:
                await _let_ask(self._runner, self._bounds.deadlines.hand_over)
            await _end(self._runner)
        self._acceptor = self._streams = self._runner = None
        if self._sock is not None:
            _close(self._sock, handed_over=handed_over)
            self._sock = None

    def _security(self) -> Security:
        return Security(
            token=self._token,
            hosts=known_hosts(self.socket, self._config),
            reading_is_free=is_of_this_machine(self.socket),
            now=self._now,
        )


def _connections(runner: web.AppRunner) -> list[Connection]:
    return cast("list[Connection]", runner.server.connections if runner.server else [])


async def _let_ask(runner: web.AppRunner, timeout: float) -> None:
    """Wait for the first request of those who have not made one yet."""
    waiting = [each.asked for each in _connections(runner) if not each.asked.done()]
    if waiting:
        await asyncio.wait(waiting, timeout=timeout)


async def _end(runner: web.AppRunner) -> None:
    """End all connections: those that are being answered soon, and those that do not read now."""
    connections = _connections(runner)
    await runner.cleanup()
    for connection in connections:
        connection.abort()
    if connections:
        await asyncio.wait([connection.gone for connection in connections])


def _close(sock: socket.socket, *, handed_over: bool) -> None:
    is_unix, name = sock.family == socket.AF_UNIX, sock.getsockname()
    sock.close()
    if is_unix and not handed_over:
        remove_unix_socket(name)

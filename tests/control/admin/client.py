"""An HTTP client that sends what it is told, however wrong, and shows what came back as it is."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tcplb.config.admin import UNIX
from tcplb.control.admin.server import AdminServer

TOKEN = "the-token-of-these-tests"  # noqa: S105
WAIT = 20.0
"""Seconds after which something that should have happened did not."""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    """With names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        assert self.headers["content-type"] == "application/problem+json; charset=utf-8"
        problem = self.json()
        assert problem["status"] == self.status
        return str(problem["detail"])


class Client:
    def __init__(self, server: AdminServer, tls: ssl.SSLContext | None = None) -> None:
        self.server = server
        self.tls = tls

    @property
    def host(self) -> str:
        """What the Host header is to be."""
        return self.server.address.partition("://")[2] or "localhost"

    @property
    def port(self) -> int:
        return int(self.server.socket.getsockname()[1])

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.server.address.startswith(UNIX):
            return await asyncio.open_unix_connection(self.server.socket.getsockname())
        host = self.server.socket.getsockname()[0]
        name = "localhost" if self.tls else None
        return await asyncio.open_connection(host, self.port, ssl=self.tls, server_hostname=name)

    def message(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> bytes:
        """A request. A header that is None is left out."""
        content = body.encode() if isinstance(body, str) else body
        fields: dict[str, str | None] = {"Host": self.host, "Connection": "close"}
        if content is not None:
            fields |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
        fields |= dict(headers or {})
        lines = [f"{name}: {value}\r\n" for name, value in fields.items() if value is not None]
        return f"{method} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + (content or b"")

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> Reply:
        return await self.send(self.message(method, path, body, headers))

    async def get(self, path: str, **headers: str | None) -> Reply:
        return await self.ask("GET", path, headers=_named(headers))

    async def change(
        self, method: str, path: str, body: object = None, **headers: str | None
    ) -> Reply:
        """Ask for a change, with the token."""
        content = None if body is None else json.dumps(body)
        fields = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        return await self.ask(method, path, content, fields | _named(headers))

    async def send(self, message: bytes) -> Reply:
        """Send bytes, and read until the server has closed."""
        reader, writer = await self.connect()
        try:
            writer.write(message)
            return parse(await asyncio.wait_for(read_all(reader), WAIT))
        finally:
            await close(writer)

    @asynccontextmanager
    async def stream(self, path: str, **headers: str | None) -> AsyncIterator[EventSource]:
        """A stream whose head was read."""
        reader, writer = await self.connect()
        try:
            writer.write(self.message("GET", path, headers=_named(headers)))
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT)
            yield EventSource(parse(head), reader, writer)
        finally:
            await close(writer)


class EventSource:
    """A stream that is open, sent in chunks of one message each."""

    def __init__(
        self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reply = reply
        self.reader = reader
        self.writer = writer
        self._unread = b""

    async def block(self) -> bytes:
        """The next block, comments too; empty at the end of the stream."""
        if not self._unread:
            self._unread = await self._chunk()
        block, end, self._unread = self._unread.partition(b"\n\n")
        return block + end

    async def _chunk(self) -> bytes:
        """What was sent in one piece, which is some whole blocks."""
        async with asyncio.timeout(WAIT):
            size = int(await self.reader.readline(), 16)
            chunk = await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
            return chunk

    async def next(self) -> tuple[int | None, Any]:
        """The next message: its number, if it has one, and what it says."""
        while (block := await self.block()).startswith(b":"):
            pass
        fields = dict(line.split(": ", 1) for line in block.decode().splitlines() if line)
        return int(fields["id"]) if "id" in fields else None, json.loads(fields["data"])


def parse(raw: bytes) -> Reply:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.split(": ", 1) for line in lines]
    headers = {name.lower(): value for name, value in pairs}
    assert len(headers) == len(pairs), "a header is there twice"
    return Reply(int(first.split()[1]), headers, body)


async def read_all(reader: asyncio.StreamReader) -> bytes:
    received = b""
    # A reset behind the answer says the same as an end: no more is read of what was sent.
    try:
        while chunk := await reader.read(65536):
            received += chunk
    except ConnectionError:
        pass
    return received


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


def small_buffers(client: Client) -> socket.socket:
    """A connection that takes little of what is sent before somebody reads."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect(client.server.socket.getsockname())
    return sock


def _named(headers: Mapping[str, str | None]) -> dict[str, str | None]:
    return {name.replace("_", "-"): value for name, value in headers.items()}

"""The client of the admin API: what `tcplb ctl` asks a running balancer by.

All that can go wrong comes out as an error in words, and every wait has an end.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from tcplb import __version__
from tcplb.config.wording import printable
from tcplb.control.admin.client_address import AdminAddress
from tcplb.control.admin.client_errors import (
    RefusedError,
    Token,
    UnreachableError,
    in_words,
    refusal,
    stranger,
)
from tcplb.control.admin.client_stream import Message, MessageParser
from tcplb.control.admin.table import API

SILENCE = 45.0
"""Seconds without a byte after which a stream is lost; the server says something each 15."""
DELAYS = (0.2, 0.4, 0.8, 1.6, 3.0)
"""Seconds before each attempt to get a lost stream back."""
LARGEST_ANSWER = 256 * 2**20

_PASSING = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY)
"""Refusals that may be over when one comes back."""

Path = Sequence[str]
Query = Mapping[str, str | int | None]
OnLost = Callable[[str, int], None]
"""Is told why a stream was lost, and how many attempts to get it back are left."""


class AdminClient:
    """Asks one admin port. Used as a context, which closes the connection."""

    def __init__(
        self,
        address: AdminAddress,
        token: Token,
        *,
        timeout: float,
        tls: ssl.SSLContext | None = None,
        silence: float = SILENCE,
        delays: Sequence[float] = DELAYS,
    ) -> None:
        """Prepare it; nothing is opened yet.

        `timeout` (seconds) is for a whole answer, and for the beginning of a stream; `silence` for
        the time between two pieces of a stream. The token is sent only where nobody on the way can
        read it.
        """
        self._address = address
        self._token = token
        self._timeout = timeout
        self._tls = tls
        self._silence = silence
        self._delays = delays
        self._connections: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Get ready to connect."""
        headers = {"User-Agent": f"tcplb/{__version__}"}
        if self._token.value is not None and self._address.private:
            headers["Authorization"] = f"Bearer {self._token.value}"
        path = self._address.path
        self._connections = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls or True)
            if path is None
            else aiohttp.UnixConnector(path),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        if self._connections is not None:
            await self._connections.close()

    async def ask(
        self,
        method: str,
        path: Path,
        *,
        query: Query | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the JSON that the API answers; `path` is below the API's, in single names.

        Raises UnreachableError, RefusedError, and ConfigError if a configuration is wrong.
        """
        whole = aiohttp.ClientTimeout(total=self._timeout)
        target = _target(path, query)
        with in_words(self._address, self._timeout):
            async with self._request(method, target, whole, body=body) as response:
                text = await _text(response)
                if not 200 <= response.status < 300:
                    raise self._refusal(response, text)
                if response.content_type != "application/json":
                    raise UnreachableError(stranger(self._address))
                return text

    async def probe(self, path: str) -> tuple[int, str]:
        """Return status and first line of a plain answer, such as that of ``/readyz``.

        Raises UnreachableError.
        """
        whole = aiohttp.ClientTimeout(total=self._timeout)
        with in_words(self._address, self._timeout):
            async with self._request("GET", path, whole) as response:
                text = await _text(response)
                return response.status, printable(text.strip().partition("\n")[0])

    async def stream(
        self,
        path: Path,
        *,
        query: Query | None = None,
        last: str | None = None,
        on_lost: OnLost | None = None,
    ) -> AsyncGenerator[Message, None]:
        """Yield the messages of a stream, without an end.

        A connection that is lost is opened again from where it was, `last` being the id of the
        message that was read before. Raises UnreachableError when all attempts have failed, or if
        there was no connection to begin with; RefusedError if the balancer does not want us.
        """
        connection = _Connection()
        failures = 0
        while True:
            pieces = self._until_lost(_target(path, query), last, connection)
            async with aclosing(pieces) as messages:
                async for message in messages:
                    failures = 0
                    last = last if message.id is None else message.id
                    yield message
            if failures == len(self._delays):
                raise UnreachableError(f"{connection.why}; gave up after {failures} attempts")
            if on_lost is not None:
                on_lost(connection.why, len(self._delays) - failures)
            await asyncio.sleep(self._delays[failures])
            failures += 1

    async def _until_lost(
        self, target: str, last: str | None, connection: _Connection
    ) -> AsyncGenerator[Message, None]:
        """Yield what one connection brings; raise only what trying again would not mend."""
        connection.why = f"{self._address.text} has ended the stream"
        try:
            async with aclosing(self._messages(target, last, connection)) as messages:
                async for message in messages:
                    yield message
        except (UnreachableError, RefusedError) as error:
            refused = isinstance(error, RefusedError) and error.status not in _PASSING
            if refused or not connection.was_there:
                raise
            connection.why = str(error)

    async def _messages(
        self, target: str, last: str | None, connection: _Connection
    ) -> AsyncGenerator[Message, None]:
        parser = MessageParser()
        async with AsyncExitStack() as opened:
            response = await self._begin(target, last, opened)
            connection.was_there = True
            while piece := await self._piece(response):
                with in_words(self._address, self._silence):
                    complete = list(parser.feed(piece))
                for message in complete:
                    yield message

    async def _begin(
        self, target: str, last: str | None, opened: AsyncExitStack
    ) -> aiohttp.ClientResponse:
        """Return a stream that has begun, to be closed with `opened`."""
        headers = {"Accept": "text/event-stream"}
        if last is not None:
            headers["Last-Event-ID"] = last
        # Only the beginning has to be quick, which is not what `sock_read` would say.
        limits = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout)
        with in_words(self._address, self._timeout):
            async with asyncio.timeout(self._timeout):
                request = self._request("GET", target, limits, headers)
                response = await opened.enter_async_context(request)
                if response.status != HTTPStatus.OK:
                    raise self._refusal(response, await _text(response))
                if response.content_type != "text/event-stream":
                    raise UnreachableError(stranger(self._address))
                return response

    async def _piece(self, response: aiohttp.ClientResponse) -> bytes:
        """Return what comes next; nothing at the end. Raises UnreachableError after a silence."""
        with in_words(self._address, self._silence):
            async with asyncio.timeout(self._silence):
                return await response.content.readany()

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        target: str,
        limits: aiohttp.ClientTimeout,
        headers: Mapping[str, str] | None = None,
        *,
        body: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._connections is None:
            raise RuntimeError("the client is used outside its context")
        sent = dict(headers or {})
        if method != "GET":
            # The server wants to be told, so that no form of a web page can ask for a change.
            sent["Content-Type"] = "application/json"
        async with self._connections.request(
            method,
            URL(self._address.url + target, encoded=True),
            headers=sent,
            data=None if body is None else json.dumps(body).encode(),
            timeout=limits,
            allow_redirects=False,
        ) as response:
            yield response

    def _refusal(self, response: aiohttp.ClientResponse, text: str) -> Exception:
        return refusal(response.status, response.content_type, text, self._address, self._token)


class _Connection:
    """What has become of the connections of a stream."""

    def __init__(self) -> None:
        self.was_there = False
        self.why = ""


def _target(path: Path, query: Query | None) -> str:
    """Return path and query, encoded. Bytes of a command line that are no text stay so."""
    names = "/".join(quote(name, safe="", errors="surrogateescape") for name in path)
    given = {name: value for name, value in (query or {}).items() if value is not None}
    encoded = urlencode(given, quote_via=quote, errors="surrogateescape")
    return f"{API}/{names}?{encoded}" if encoded else f"{API}/{names}"


async def _text(response: aiohttp.ClientResponse) -> str:
    """Return the body. Raises ValueError if it is too long or no text."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > LARGEST_ANSWER:
            raise ValueError(f"an answer of more than {LARGEST_ANSWER} bytes")
    return body.decode()

"""Sends a stream of messages as Server-Sent Events (WHATWG HTML, "Server-sent events")."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from typing import Any

from aiohttp import web

from tcplb.control.admin.answers import RefusedError, add_headers, log
from tcplb.control.admin.control import Control
from tcplb.control.admin.requests import connection_of
from tcplb.control.admin.table import Call, Message, Messages, Open

_COMMENT = b": nothing new\n\n"


class EventStreams:
    """The streams that are open; not more than so many at once."""

    def __init__(self, *, most: int, keep_alive: float) -> None:
        """After `keep_alive` seconds without a message there is a comment, so that both see whether
        the other is still there.
        """
        self._most = most
        self._keep_alive = keep_alive
        self._open = 0
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """End all of them, and those to come at once."""
        if not self._closing.done():
            self._closing.set_result(None)

    async def answer(
        self, request: web.Request, control: Control, call: Call, open_: Open
    ) -> web.StreamResponse:
        """Send messages until the client leaves or the server closes. Raises RefusedError."""
        response = web.StreamResponse()
        response.content_type = "text/event-stream"
        response.charset = "utf-8"
        if request.method == "HEAD":
            return response
        if self._open >= self._most:
            raise RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._most} streams are open, and no more are served at once",
                {"Retry-After": "5"},
            )
        self._open += 1
        connection = connection_of(request)
        connection.is_streaming = True
        try:
            with open_(control, call) as messages:
                add_headers(response)
                await response.prepare(request)
                async with contextlib.aclosing(messages):
                    await self._send(messages, response, connection.gone)
        except ConnectionError:
            pass  # the client has left while it was written to
        except Exception:
            if not response.prepared:
                raise
            # The answer has begun, so there is none left that would say so.
            log.exception("the stream %s has failed", request.path)
        finally:
            self._open -= 1
        return response

    async def _send(
        self,
        messages: Messages,
        response: web.StreamResponse,
        gone: asyncio.Future[None],
    ) -> None:
        coming: asyncio.Future[list[Message] | None] = asyncio.ensure_future(_next(messages))
        ends: set[asyncio.Future[Any]] = {gone, self._closing}
        try:
            # So that a browser reports at once that the stream is open.
            await response.write(_COMMENT)
            while not any(end.done() for end in ends):
                await asyncio.wait(
                    {coming, *ends},
                    timeout=self._keep_alive,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if coming.done():
                    some = coming.result()
                    if some is None:
                        return
                    await response.write(b"".join(map(_encoded, some)))
                    coming = asyncio.ensure_future(_next(messages))
                elif not any(end.done() for end in ends):
                    await response.write(_COMMENT)
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


async def _next(messages: Messages) -> list[Message] | None:
    return await anext(messages, None)


def _encoded(message: Message) -> bytes:
    head = "" if message.number is None else f"id: {message.number}\n"
    return f"{head}data: {message.data}\n\n".encode()

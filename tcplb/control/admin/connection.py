"""A connection of an admin client, which has to keep to deadlines.

aiohttp waits for the rest of a request for as long as it takes, and for a client to read what it
is sent as well. Here a request has to be there in whole in time, from its first byte on, and a
client has to take something of what waits for it in time. One that does not is cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

from aiohttp import web

from tcplb.control.admin.answers import add_headers, answer_to, problem_answer


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long is waited for a client, in seconds."""

    request: float = 10.0
    """From the first byte of a request to its last; and for a TLS handshake."""
    read: float = 10.0
    """For the client to read any byte of what waits for it."""
    idle: float = 15.0
    """For the first byte of a request, the next one or the first."""
    hand_over: float = 1.0
    """For the first request of who has just connected when another process takes the port over."""
    close: float = 3.0
    """For all to end that is under way when the server closes."""


# More is no request of a client of ours; 64 connections with this much are 25 MB.
_MOST_HEADERS = 50
_LONGEST_LINE = 8190
_LATE = 1.0  # seconds for a request that is here in whole to be taken up


class Connection(web.RequestHandler):
    """A connection; its requests are those of `server`."""

    _wire: asyncio.Transport  # from `connection_made` on

    __slots__ = (
        *("_cut", "_deadlines", "_has_ended", "_is_idle", "_lost", "_stuck", "_wire"),
        *("asked", "gone", "is_answering", "is_streaming"),
    )

    def __init__(
        self,
        server: web.Server,
        loop: asyncio.AbstractEventLoop,
        deadlines: Deadlines,
        lost: Callable[[], None],
    ) -> None:
        """Begin; `lost` is told when the connection is over."""
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=deadlines.idle,
            lingering_time=1.0,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
            max_headers=_MOST_HEADERS,
            # A small body that is large when unpacked is no request of a client of ours either.
            auto_decompress=False,
            # None turns aiohttp's log of requests off, though its annotation has no None.
            access_log=None,  # type: ignore[arg-type]
        )
        self.gone: asyncio.Future[None] = loop.create_future()
        """Done when the connection is over."""
        self.asked: asyncio.Future[None] = loop.create_future()
        """Done when its first request is here, or never will be."""
        self._deadlines = deadlines
        self._lost = lost
        self._cut: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._is_idle = True
        self.is_answering = False
        """Whether a request is here in whole, and its answer is not over."""
        self.is_streaming = False
        """Whether that answer is a stream, which ends when its client does."""
        self._has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)
        # Whatever the kernel does not take at once is waited for, and so has a deadline. Not 0: a
        # transport with TLS pauses as soon as there are as many bytes as that, which always are.
        self._wire.set_write_buffer_limits(high=1, low=0)
        super().connection_made(transport)
        self._cut_off_in(self._deadlines.idle)

    def connection_lost(self, exc: BaseException | None) -> None:
        for timer in (self._cut, self._stuck):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        for future in (self.asked, self.gone):
            if not future.done():
                future.set_result(None)
        self._lost()

    def data_received(self, data: bytes) -> None:
        # aiohttp calls this with nothing, too, to parse what it has kept.
        if data and self._is_idle:
            self._is_idle = False
            self._cut_off_in(self._deadlines.request)
        super().data_received(data)

    # asyncio lets a protocol return True to keep its side open; aiohttp's annotation has None only.
    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Keep the connection for an answer that is under way: `nc -N` and socat end theirs so.

        A stream ends with it, because its client has most likely left; and TLS knows no half.
        """
        is_tls = self._wire.get_extra_info("sslcontext") is not None
        if self._is_idle or self.is_streaming or is_tls:
            return None
        self._has_ended = True
        if not self.is_answering:
            self._cut_off_in(_LATE)  # what is not here by now does not come any more
        return True

    def request_is_read(self) -> None:
        """Note that the request is here to its last byte."""
        self._is_idle = False
        self.is_answering = True
        if not self.asked.done():
            self.asked.set_result(None)
        if self._cut is not None:
            self._cut.cancel()

    def request_is_answered(self) -> None:
        """Note that the client has its answer, so that what comes now is the next request.

        A part of that may be here already. Then it has been waited for, for `idle` from now on.
        """
        self._is_idle = True
        self.is_answering = False
        if self._has_ended:
            self._wire.close()
            return
        self._cut_off_in(self._deadlines.idle)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        super().resume_writing()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no HTTP; that is a client's error, and so not worth a line."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and isinstance(exc, Exception):
            response = answer_to(exc, request)
        else:
            response = problem_answer(HTTPStatus(status), message or "this is no HTTP request")
        add_headers(response)
        response.force_close()
        return response

    def _cut_off_in(self, seconds: float) -> None:
        if self._cut is not None:
            self._cut.cancel()
        if self.gone.done():
            return  # the client left while it was answered
        self._cut = asyncio.get_running_loop().call_later(seconds, self.abort)

    def _expect_reading(self) -> None:
        loop = asyncio.get_running_loop()
        waiting = self._wire.get_write_buffer_size()
        self._stuck = loop.call_later(self._deadlines.read, self._abort_if_stuck, waiting)

    def _abort_if_stuck(self, waiting: int) -> None:
        if self._wire.get_write_buffer_size() < waiting:
            self._expect_reading()
        else:
            self.abort()

    def abort(self) -> None:
        """End the connection at once, whatever is still to be sent."""
        self._wire.abort()

"""HTTP/1.x: request bytes in, replies out. Pure: no sockets, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

import httptools


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer as it goes on the wire. After the last one the connection is closed."""

    status: HTTPStatus
    data: bytes
    last: bool = False

    @property
    def interim(self) -> bool:
        """Whether the answer proper is still to come (1xx)."""
        return self.status < HTTPStatus.OK


class HttpResponder:
    """Answers the requests of one connection.

    The body of a POST or PUT at /echo is kept in memory until the request is complete.
    """

    def __init__(self, port: int, address: str) -> None:
        """Answer as the server on `port`, whose name is `address` (host:port)."""
        self._address = address
        self._body = f"Received request on server running on port {port}\n".encode()
        self._parser = httptools.HttpRequestParser(self)
        self._replies: list[Reply] = []
        self._unfinished = False
        self._start_request()

    def feed(self, data: bytes) -> list[Reply]:
        """Take the next bytes, b"" at end of file; return the replies now due, in order."""
        self._replies = []
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # The reply is made; it is the last, and what follows it is not HTTP.
        except httptools.HttpParserError:
            self._reject()
        if not data and self._unfinished:
            self._reject()
        return self._replies

    # What httptools calls while it parses, in this order for every request.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._start_request()
        self._unfinished = True

    def on_url(self, part: bytes) -> None:
        """The target, or a part of it."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if name.lower() == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True

    def on_headers_complete(self) -> None:
        """The request's head is there."""
        method = self._parser.get_method()
        self._echoes = method in (b"POST", b"PUT") and _path(self._target) == b"/echo"
        # RFC 9110 §10.1.1: the expectation of an HTTP/1.0 client is ignored.
        if self._expects_continue and self._parser.get_http_version() != "1.0":
            self._replies.append(Reply(HTTPStatus.CONTINUE, b"HTTP/1.1 100 Continue\r\n\r\n"))

    def on_body(self, part: bytes) -> None:
        """A part of the body, with no trace of chunks."""
        if self._echoes:
            self._received += part

    def on_message_complete(self) -> None:
        """The request is there as a whole."""
        self._unfinished = False
        if self._parser.get_method() == b"CONNECT":
            self._reply(HTTPStatus.METHOD_NOT_ALLOWED, b"CONNECT is not for this server\n")
            return
        self._reply(HTTPStatus.OK, bytes(self._received) if self._echoes else self._body)

    def _start_request(self) -> None:
        self._target = b""
        self._expects_continue = False
        self._echoes = False
        self._received = bytearray()

    def _reply(self, status: HTTPStatus, body: bytes) -> None:
        # A request to upgrade is answered as if it were none, but llhttp parses nothing after it.
        keep = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        is_head = self._parser.get_method() == b"HEAD"
        head = self._head(status, len(body), keep=keep)
        data = head + (b"" if is_head else body)
        self._replies.append(Reply(status, data, last=not keep))

    def _reject(self) -> None:
        # llhttp objects to bytes after `Connection: close` too: that answer was the last already.
        if self._replies and self._replies[-1].last:
            return
        self._unfinished = False
        body = b"that is not an HTTP request, or only a part of one\n"
        status = HTTPStatus.BAD_REQUEST
        head = self._head(status, len(body), keep=False)
        self._replies.append(Reply(status, head + body, last=True))

    def _head(self, status: HTTPStatus, length: int, *, keep: bool) -> bytes:
        lines = [
            f"HTTP/1.1 {status} {status.phrase}",
            "Content-Type: text/plain",
            f"Content-Length: {length}",
            f"X-Backend: {self._address}",
            f"Connection: {'keep-alive' if keep else 'close'}",
        ]
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            lines.append("Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH")
        return "\r\n".join([*lines, "\r\n"]).encode()


def _path(target: bytes) -> bytes:
    try:
        # No path in absolute-form means the root.
        return httptools.parse_url(target).path or b"/"
    except httptools.HttpParserInvalidURLError:
        return target  # `http:///x`, which llhttp lets pass: no path that we know.

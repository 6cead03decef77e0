"""What an HTTP client is told that no backend can take: anybody else gets a reset."""

from __future__ import annotations

ANSWER_TIME = 1.0
"""Seconds that the client has to take it."""

_BODY = b"No backend is available to take this connection.\n"
UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"Content-Type: text/plain\r\n"
    b"Content-Length: %d\r\n"
    b"Connection: close\r\n"
    b"\r\n"
    b"%b" % (len(_BODY), _BODY)
)

"""The bytes that load and backends exchange: small HTTP/1.1, so that wrk can speak it too."""

from __future__ import annotations

REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
"""A small request. The answer leaves the connection open."""

_BODY = b"a small answer, as a health check or a cache would give it. 64 B"

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(_BODY) + _BODY
"""What every small request gets, in one segment."""

BULK_REQUEST = b"GET /bulk HTTP/1.1\r\nHost: bench\r\n\r\n"
"""Asks for bytes without end; the client closes when it has had enough."""

BULK_BUFFER = 512 * 1024
"""Bytes that a socket at either end of a bulk flow may hold.

Left alone, they grow to tens of megabytes on loopback, where nothing limits a flow. All bytes then
come from memory and not from the cache, and what is measured is how far the ends are apart.
"""

END_OF_HEAD = b"\r\n\r\n"

"""The bytes that load and backends exchange: small HTTP/1.1, so that wrk can speak it too."""

from __future__ import annotations

REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
"""A small request. The answer leaves the connection open."""

_BODY = b"a small answer, as a health check or a cache would give it. 64 B"

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(_BODY) + _BODY
"""What every small request gets, in one segment."""

BULK_REQUEST = b"GET /bulk HTTP/1.1\r\nHost: bench\r\n\r\n"
"""Asks for bytes without end; the client closes when it has had enough."""

BULK_BUFFER = 4 * 1024 * 1024
"""Bytes that a socket at either end of a bulk flow may hold: what Linux lets a sender's grow to.

It decides how much is on its way, and so whether the balancer finds the bytes in the cache. Left to
themselves, machines differ here, from one megabyte to dozens, and runs would not compare.
"""

BULK_BLOCK = 256 * 1024
"""Bytes sent or read at a time in bulk."""

BULK_BLOCK_THAT_GIVES_WAY = 64 * 1024
"""The same beside small requests: while the kernel copies a block, nobody else has the core."""

END_OF_HEAD = b"\r\n\r\n"

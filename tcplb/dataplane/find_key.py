"""What a keyed strategy places: found in the first bytes of a client, or in its address."""

from __future__ import annotations

from tcplb.dataplane.engine import Connection
from tcplb.dataplane.frontend import Frontend
from tcplb.policy.addresses import client_key
from tcplb.policy.classify import NEED_MORE, RequestTarget, classify, first_line
from tcplb.policy.names import HashKey

FIRST_BYTE_WAIT = 0.2
"""Seconds that `hash_key = "auto"` waits for a client to speak first."""


async def find_key(client: Connection, frontend: Frontend, host: str) -> tuple[bytes, bool]:
    """Return the key, and whether the client at `host` speaks HTTP, as far as is known.

    Waits for bytes only if the key is in them. Raises OSError if the client resets the connection.
    """
    rule = frontend.pool.rules.key_rule
    match rule.key:
        case HashKey.AUTO | HashKey.REQUEST:
            request = await _read_request_line(client, frontend, auto=rule.key is HashKey.AUTO)
            if request is not None:
                return request.target, True
        case HashKey.FIRST_LINE:
            line = await _read_first_line(client, frontend)
            if line is not None:
                return line, isinstance(classify(line + b"\n"), RequestTarget)
    return client_key(host, rule.prefix, rule.prefix_v6), False


async def _read_request_line(
    client: Connection, frontend: Frontend, *, auto: bool
) -> RequestTarget | None:
    """Peek until the first line is known; None if it is not HTTP, too slow or too long."""
    clock, first_line_time = frontend.clock, frontend.timeouts.first_line
    try:
        wait = min(FIRST_BYTE_WAIT, first_line_time) if auto else first_line_time
        data = await client.peek(0, wait)
        deadline = clock() + first_line_time
        while (verdict := classify(data)) is NEED_MORE:
            seen = len(data)
            data = await client.peek(seen, deadline - clock())
            if len(data) == seen:  # a FIN: there will never be more
                return None
    except TimeoutError:
        return None
    return verdict if isinstance(verdict, RequestTarget) else None


async def _read_first_line(client: Connection, frontend: Frontend) -> bytes | None:
    """Peek until the first line is there, whatever it says; None if it is too slow or long."""
    clock, seen = frontend.clock, 0
    deadline = clock() + frontend.timeouts.first_line
    while True:
        try:
            data = await client.peek(seen, deadline - clock())
        except TimeoutError:
            return None
        line = first_line(data)
        if line is not NEED_MORE or len(data) == seen:  # no more after a FIN
            return line if isinstance(line, bytes) else None
        seen = len(data)

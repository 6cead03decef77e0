"""`connect`: connect, one exchange, close. And `connect-only`, without the exchange."""

from __future__ import annotations

from time import monotonic_ns

from tcplb.loadgen.client import Client, Script
from tcplb.loadgen.clients.exchanges import Exchange
from tcplb.loadgen.connection import connect


def connect_once(client: Client, exchange: Exchange) -> Script:
    """Do one exchange on a connection of its own. Its latency includes connecting."""
    due = yield from client.next_due()
    client.loop.keys.take(client)
    connection = yield from connect(client)
    try:
        yield from exchange(client, connection, due)
    finally:
        client.since = 0
        connection.close()


def connect_only(client: Client) -> Script:
    """Connect and close."""
    due = yield from client.next_due()
    loop = client.loop
    loop.keys.take(client)
    connection = yield from connect(client)
    try:
        loop.tally.requests += 1
        loop.tally.latency.record(monotonic_ns() - due)
        client.since = 0
        if not loop.open_loop:  # where nothing else makes it wait
            yield from connection.give_way()
    finally:
        connection.close()

"""`idle`: hold connections that do nothing, and watch whether they stay."""

from __future__ import annotations

from time import monotonic_ns

from tcplb.loadgen.client import TURN, Client, FailedError, Script
from tcplb.loadgen.clients.exchanges import Exchange
from tcplb.loadgen.connection import Connection, connect

CLOSED = "closed while it was idle"


def idle(client: Client, exchange: Exchange) -> Script:
    """Do an exchange, hold the connection until the end of the run, and do another exchange.

    The first proves that the connection reaches a backend, the second that it still does.
    """
    due = yield from client.next_due()
    client.loop.keys.take(client)
    connection = yield from connect(client)
    try:
        yield from exchange(client, connection, due)
        yield from _hold(client, connection)
        yield from exchange(client, connection, monotonic_ns())
    finally:
        client.since = 0
        connection.close()


def _hold(client: Client, connection: Connection) -> Script:
    """Wait for the end of the run; raises FailedError or OSError if the connection ends first."""
    client.since = 0
    client.loop.holding.add(client)
    try:
        while connection.try_receive() is None:
            if (yield) == TURN:
                return
    finally:
        client.loop.holding.remove(client)
    raise FailedError(CLOSED)

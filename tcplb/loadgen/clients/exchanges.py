"""`echo`, and `bulk` over HTTP: exchanges on a kept connection, the next one when one is over."""

from __future__ import annotations

from collections.abc import Callable

from tcplb.loadgen.client import Client, Script, Waiting
from tcplb.loadgen.connection import Connection, connect_ahead

Exchange = Callable[[Client, Connection, int], Waiting[bool]]
"""One exchange, due then; returns whether the connection is good for another one."""


def exchanges(client: Client, exchange: Exchange) -> Script:
    """Do exchanges on one connection until it ends."""
    client.loop.keys.take(client)
    connection = yield from connect_ahead(client)
    try:
        goes_on = True
        while goes_on and client.wanted:
            due = yield from client.next_due()
            if client.ended:
                client.put_back(due)
                return
            goes_on = yield from exchange(client, connection, due)
    finally:
        client.since = 0
        connection.close()

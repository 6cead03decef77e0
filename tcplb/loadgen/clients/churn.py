"""`churn`: all of it mixed, as a balancer's day is: each connection lives another life."""

from __future__ import annotations

from random import Random

from tcplb.loadgen.client import Client, FailedError, Script
from tcplb.loadgen.clients.exchanges import Exchange
from tcplb.loadgen.clients.idle import CLOSED
from tcplb.loadgen.connection import Connection, connect

LIVES = {"once": 35, "some": 30, "only": 10, "large": 10, "quiet": 10, "reset": 5}
"""What a connection does, and in how many of a hundred cases:

once: one exchange. some: 2 to 20 exchanges. only: nothing. large: one exchange of much data. quiet:
two exchanges with up to half a second between them. reset: an exchange, then a RST.
"""

_MOST = 20
_LONGEST_QUIET = 0.5


class Churn:
    """The lives of one loop's clients."""

    def __init__(self, exchange: Exchange, large: Exchange, seed: int) -> None:
        self._exchange = exchange
        self._large = large
        self._random = Random(seed)

    def live(self, client: Client) -> Script:
        """Live one life, which counts as one request at least."""
        (life,) = self._random.choices(list(LIVES), list(LIVES.values()))
        due = yield from client.next_due()
        client.loop.keys.take(client)
        connection = yield from connect(client)
        try:
            yield from self._spend(life, client, connection, due)
        finally:
            client.since = 0
            connection.close()

    def _spend(self, life: str, client: Client, connection: Connection, due: int) -> Script:
        if life == "only":
            client.loop.tally.requests += 1
            return
        exchange = self._large if life == "large" else self._exchange
        goes_on = yield from exchange(client, connection, due)
        if life == "reset":
            connection.reset()
        if life == "quiet" and goes_on:
            yield from client.loop.pause(client, self._random.uniform(0, _LONGEST_QUIET))
            if client.ended:
                raise FailedError(CLOSED)
        more = {"some": self._random.randrange(1, _MOST), "quiet": 1}.get(life, 0)
        while goes_on and more > 0 and client.loop.left > 0:
            more -= 1
            due = yield from client.next_due()
            if client.ended:
                client.put_back(due)
                return
            goes_on = yield from exchange(client, connection, due)

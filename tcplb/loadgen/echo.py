"""Raw TCP as the load speaks it: random payloads go out, and every byte that returns is checked.

A connection's first exchange begins with the question who serves it: an echo backend of this
project names itself, and any other echo server sends the question back.
"""

from __future__ import annotations

from select import EPOLLIN
from time import monotonic_ns

from tcplb.loadgen.client import ENDS, Client, FailedError, Waiting
from tcplb.loadgen.connection import Connection
from tcplb.loadgen.naming import MAX_ANSWER, QUESTION, parse_name
from tcplb.loadgen.payloads import Payloads
from tcplb.loadgen.tally import Tally

WRONG_BYTES = "the bytes that came back are not those that were sent"
CLOSED_BEFORE = "closed before the answer"
CLOSED_WITHIN = "closed in the middle of the answer"


class Echo:
    """Exchanges with an echo server, for one loop."""

    def __init__(self, payloads: Payloads, tally: Tally) -> None:
        self._payloads = payloads
        self._tally = tally

    def exchange(self, client: Client, connection: Connection, due: int) -> Waiting[bool]:
        """Send a payload and check that it comes back; on a new connection, ask who serves it.

        Returns whether the connection is good for another one. Raises FailedError or OSError.
        """
        sent = client.since = monotonic_ns()
        payload = self._payloads.next()
        back = Back(payload, after_name=connection.new)
        stream = Duplex(connection, QUESTION + payload if connection.new else payload)
        back.feed((yield from stream.receive()))
        self._tally.first_byte.record(monotonic_ns() - sent)
        while not back.complete:
            back.feed((yield from stream.receive()))
        self._count(connection, due, back.name)
        return not client.ended

    def _count(self, connection: Connection, due: int, name: str | None) -> None:
        self._tally.requests += 1
        self._tally.latency.record(monotonic_ns() - due)
        if connection.new:
            served = self._tally.served(name) if name else None
            connection.answered(served, name or "")
        if connection.served is not None:
            connection.served.requests += 1


class Duplex:
    """Sends while it receives: an echo stops reading once nobody takes what it sends back."""

    __slots__ = ("_connection", "_drained", "rest")

    def __init__(self, connection: Connection, data: bytes) -> None:
        self._connection = connection
        self.rest = memoryview(data)
        """What is not sent yet."""
        self._drained = True
        """Whether only an event can tell that there is something to read."""

    def receive(self) -> Waiting[bytes]:
        """Return the next bytes, b"" after the end; meanwhile send what there is room for."""
        connection = self._connection
        while True:
            sent = connection.try_send(self.rest) if self.rest else 0
            self.rest = self.rest[sent:]
            if self._drained and not (sent and self.rest):
                mask = yield from connection.wait()
                self._drained = not mask & (EPOLLIN | ENDS)
            if self._drained:
                continue
            data = connection.try_receive()
            self._drained = data is None
            if data is not None:
                return data


class Back:
    """Checks what comes back against what was sent, byte by byte, however it is cut."""

    __slots__ = ("_begun", "_payload", "_seen", "_start", "name")

    def __init__(self, payload: bytes, *, after_name: bool) -> None:
        self._payload = payload
        self._begun = False
        self._seen = 0
        self._start = b"" if after_name else None
        """The answer to the question, while it is not whole."""
        self.name: str | None = None
        """The backend that named itself."""

    @property
    def complete(self) -> bool:
        """Whether all is back."""
        return self._start is None and self._seen == len(self._payload)

    def feed(self, data: bytes) -> None:
        """Take the next bytes, b"" for the end. Raises FailedError if they are wrong."""
        if not data:
            raise FailedError(CLOSED_WITHIN if self._begun else CLOSED_BEFORE)
        self._begun = True
        if self._start is not None:
            data = self._take_name(self._start + data)
        end = self._seen + len(data)
        if self._payload[self._seen : end] != data:
            raise FailedError(WRONG_BYTES)
        self._seen = end

    def _take_name(self, start: bytes) -> bytes:
        """Take the answer to the question off `start`; return what comes after it."""
        line, newline, rest = start.partition(b"\n")
        if not newline and len(start) < MAX_ANSWER:
            self._start = start
            return b""
        self._start = None
        self.name = parse_name(line + newline)
        if self.name is None and line + newline != QUESTION:
            raise FailedError(WRONG_BYTES)
        return rest

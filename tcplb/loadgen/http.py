"""HTTP/1.1 as a client speaks it: requests, and answers, of which known heads are quick.

Most answers of a server begin with one of a few heads (they differ in the date, once a second). A
head that was parsed once says how long its body is and which backend sent it. httptools parses the
first of each kind, and every answer whose length its head does not say.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic_ns

import httptools

from tcplb.loadgen.client import Client, FailedError, Waiting
from tcplb.loadgen.connection import Connection
from tcplb.loadgen.histogram import Histogram
from tcplb.loadgen.job import Job
from tcplb.loadgen.payloads import Payloads
from tcplb.loadgen.tally import Served, Tally

END_OF_HEAD = b"\r\n\r\n"
MAX_HEAD = 64 * 1024
"""Bytes of a head after which it is no answer."""
MAX_KNOWN_HEADS = 512

_BAD = "not an HTTP/1.1 answer"
_MORE = "more bytes than the answer has"
_CLOSED_BEFORE = "closed before the answer"
_CLOSED_WITHIN = "closed in the middle of the answer"
_OTHER_BODY = "the body that came back is not the one that was sent"
_LOWEST_FINAL = 200
_LOWEST_ERROR = 400


@dataclass(slots=True)
class Head:
    """What a head says, and how often it came."""

    status: int
    length: int | None
    """Bytes of the body; None if only a parser can tell where it ends."""
    last: bool
    """Whether the server closes the connection after it."""
    served: Served | None
    """The count of the backend, if it has named itself."""
    backend: str
    size: int
    """Bytes of the head."""
    answers: int = 0
    """Answers with this head that are not in the tally yet."""

    @property
    def quick(self) -> bool:
        """Whether all is well, and the connection goes on, after a body of its length."""
        good = _LOWEST_FINAL <= self.status < _LOWEST_ERROR
        return good and not self.last and self.length is not None


class Http:
    """Speaks HTTP for one loop."""

    def __init__(self, job: Job, tally: Tally) -> None:
        self.quick: dict[bytes, Head] = {}
        """Heads after which all is well, if the body has their length. Count them in `answers`."""
        self.at_once = Histogram()
        """Times from sending a request to an answer that came as a whole: its first byte too."""
        self._heads: dict[bytes, Head] = {}
        self._tally = tally
        self._header = job.backend_header.lower().encode()
        self._paths = job.paths
        self._path = job.target.path or "/"
        self._rest = f" HTTP/1.1\r\nHost: {job.target.host}\r\nUser-Agent: tcplb-bench\r\n".encode()

    def get(self, key: int | None) -> bytes:
        """Return the request of a connection."""
        return b"GET %b%b\r\n" % (self._target(key), self._rest)

    def exchange(self, client: Client, connection: Connection, due: int) -> Waiting[bool]:
        """GET the path of the connection. The answer's body is not kept."""
        return (yield from self._send(client, connection, due, self.get(client.key)))

    def post(
        self, client: Client, connection: Connection, due: int, body: bytes, *, check: bool
    ) -> Waiting[bool]:
        """POST `body`, and `check` whether it comes back."""
        head = b"POST %b%bContent-Length: %d\r\n\r\n"
        request = head % (self._target(client.key), self._rest, len(body)) + body
        return (yield from self._send(client, connection, due, request, body if check else None))

    def receive(
        self,
        client: Client,
        connection: Connection,
        due: int,
        data: bytes,
        expected: bytes | None = None,
    ) -> Waiting[bool]:
        """Receive and count an answer, of which `data` is there and counted."""
        head, body = yield from self._answer(connection, data, keep=expected is not None)
        tally = self._tally
        tally.statuses[head.status] += 1
        if head.status >= _LOWEST_ERROR:
            tally.failures[f"HTTP status {head.status}"] += 1
        elif expected is not None and body != expected:
            tally.failures[_OTHER_BODY] += 1
        else:
            tally.requests += 1
            tally.latency.record(monotonic_ns() - due)
            if head.served is not None:
                head.served.requests += 1
            if connection.new:
                connection.answered(head.served, head.backend)
        return not (head.last or client.ended)

    def fold(self) -> None:
        """Put into the tally what was counted aside."""
        self._tally.latency.merge(self.at_once)
        self._tally.first_byte.merge(self.at_once)
        self.at_once.clear()
        for head in self.quick.values():
            if head.answers:
                self._fold_head(head)

    def _fold_head(self, head: Head) -> None:
        tally, count = self._tally, head.answers
        head.answers = 0
        tally.requests += count
        tally.bytes_received += count * (head.size + (head.length or 0))
        tally.statuses[head.status] += count
        if head.served is not None:
            head.served.requests += count

    def _send(
        self,
        client: Client,
        connection: Connection,
        due: int,
        request: bytes,
        expected: bytes | None = None,
    ) -> Waiting[bool]:
        sent = client.since = monotonic_ns()
        if not (yield from connection.send_all(request)):
            yield from connection.wait()  # others go on first, though the answer may be there
        data = yield from connection.receive()
        self._tally.first_byte.record(monotonic_ns() - sent)
        return (yield from self.receive(client, connection, due, data, expected))

    def _target(self, key: int | None) -> bytes:
        """Return the request target: one of its own for each key, if there are several."""
        if self._paths == 1:
            return self._path.encode()
        path, question, query = self._path.partition("?")
        return f"{path.rstrip('/')}/{key or 0}{question}{query}".encode()

    def _answer(
        self, connection: Connection, data: bytes, *, keep: bool
    ) -> Waiting[tuple[Head, bytes]]:
        """Receive the rest of an answer; return its head, and its body if it is to be kept."""
        head, data = yield from self._head(connection, data)
        while head.status < _LOWEST_FINAL:  # interim: the answer proper follows
            data = data[head.size :] or (yield from connection.receive())
            head, data = yield from self._head(connection, data)
        if head.length is None:
            parts = yield from _parse(connection, data)
        else:
            parts = yield from _rest_of(connection, data[head.size :], head.length, keep=keep)
        return head, b"".join(parts)

    def _head(self, connection: Connection, data: bytes) -> Waiting[tuple[Head, bytes]]:
        """Receive the rest of a head; return it, and what has come from its first byte on."""
        while END_OF_HEAD not in data:
            if len(data) > MAX_HEAD:
                raise FailedError(_BAD)
            if not data or not (more := (yield from connection.receive())):
                raise FailedError(_CLOSED_WITHIN if data else _CLOSED_BEFORE)
            data += more
        raw = data.partition(END_OF_HEAD)[0]
        return self._heads.get(raw) or self._learn(raw), data

    def _learn(self, raw: bytes) -> Head:
        if len(self._heads) >= MAX_KNOWN_HEADS:
            self.fold()
            self._heads.clear()
            self.quick.clear()
        head = _parse_head(raw, self._header)
        if head.backend:
            head.served = self._tally.served(head.backend)
        self._heads[raw] = head
        if head.quick:
            self.quick[raw] = head
        return head


class Post:
    """POST requests with random bodies."""

    def __init__(self, http: Http, payloads: Payloads, *, check: bool) -> None:
        self._http = http
        self._payloads = payloads
        self._check = check

    def exchange(self, client: Client, connection: Connection, due: int) -> Waiting[bool]:
        """POST the next body; if it is to be checked, it has to come back."""
        body = self._payloads.next()
        return (yield from self._http.post(client, connection, due, body, check=self._check))


class _Parser:
    """What httptools calls while it parses one answer."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.body: list[bytes] = []
        self.begun = 0
        self.complete = False
        self.keeps = False
        """Whether the connection goes on after the answer."""
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Raises FailedError if it is no answer, or more than one."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise FailedError(_BAD) from None  # nobody has asked for another protocol
        except httptools.HttpParserError:
            raise FailedError(_MORE if self.complete else _BAD) from None
        if self.begun > 1:
            raise FailedError(_MORE)

    @property
    def status(self) -> int:
        return int(self._parser.get_status_code())

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        # Later, llhttp has forgotten the head, and says that only the end could end the answer.
        self.keeps = bool(self._parser.should_keep_alive())

    def on_body(self, part: bytes) -> None:
        self.body.append(part)

    def on_message_complete(self) -> None:
        self.complete = True


def _parse_head(raw: bytes, backend_header: bytes) -> Head:
    parser = _Parser()
    parser.feed(raw + END_OF_HEAD)
    length: int | None = None
    if parser.complete:
        length = 0  # no body by its status, or by its length
    elif b"content-length" in parser.headers and b"transfer-encoding" not in parser.headers:
        length = int(parser.headers[b"content-length"])  # llhttp has checked it
    return Head(
        status=parser.status,
        length=length,
        last=not parser.keeps,
        served=None,
        backend=parser.headers.get(backend_header, b"").decode(errors="replace"),
        size=len(raw) + len(END_OF_HEAD),
    )


def _rest_of(
    connection: Connection, body: bytes, length: int, *, keep: bool
) -> Waiting[list[bytes]]:
    """Receive the rest of a body of known length; return its parts if they are to be kept."""
    parts, missing = [body], length - len(body)
    while missing > 0:
        data = yield from connection.receive()
        if not data:
            raise FailedError(_CLOSED_WITHIN)
        missing -= len(data)
        if keep:
            parts.append(data)
    if missing < 0:
        raise FailedError(_MORE)
    return parts if keep else []


def _parse(connection: Connection, data: bytes) -> Waiting[list[bytes]]:
    """Receive a body whose end only a parser finds: chunked, or until the server closes."""
    parser = _Parser()
    parser.feed(data)
    while not parser.complete:
        data = yield from connection.receive()
        if not data and b"transfer-encoding" in parser.headers:
            raise FailedError(_CLOSED_WITHIN)
        if not data:
            break
        parser.feed(data)
    return parser.body

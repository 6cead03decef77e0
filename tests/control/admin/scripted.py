"""A server that answers as a test says: whatever a network or another program may do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.processes import WAIT

Answer = bytes | Callable[[socket.socket], None]


def http(status: int, body: str = "", kind: str = "application/json", more: str = "") -> bytes:
    """A whole answer, after which the connection ends."""
    data = body.encode()
    length = f"Content-Length: {len(data)}\r\n"
    return f"HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\n{length}{more}\r\n".encode() + data


def problem(status: int, detail: str, problems: str = "[]") -> bytes:
    """A refusal as the API has it."""
    body = f'{{"title": "x", "status": {status}, "detail": "{detail}", "problems": {problems}}}'
    return http(status, body, "application/problem+json")


def stream(*messages: str) -> bytes:
    """The beginning of a stream, up to where the connection is lost."""
    head = "HTTP/1.1 200 x\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = (f"{len(data):x}\r\n".encode() + data + b"\r\n" for data in map(str.encode, messages))
    return head.encode() + b"".join(chunks)


def hang(client: socket.socket) -> None:
    """Say nothing until the client leaves."""
    with suppress(OSError):
        while client.recv(1000):
            pass


def then_hang(data: bytes) -> Answer:
    """Say this, and nothing more until the client leaves."""

    def answer(client: socket.socket) -> None:
        client.sendall(data)
        hang(client)

    return answer


class Scripted:
    """Gives the first client the first answer, and so on; the last answer to all others."""

    def __init__(self, *answers: Answer, greets: bool = False) -> None:
        self._answers = list(answers)
        self._greets = greets
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.address = f"127.0.0.1:{self.port}"
        self.requests: list[str] = []
        """The heads of the requests."""
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(WAIT)
        self._listening.close()
        assert not self._thread.is_alive()

    def header(self, name: str, request: int = -1) -> str | None:
        """Return a header of a request; None if it has none of that name."""
        for line in self.requests[request].split("\r\n")[1:]:
            key, _, value = line.partition(": ")
            if key.lower() == name.lower():
                return value
        return None

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with client, suppress(OSError):
                client.settimeout(WAIT)
                self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        if self._greets:  # like servers that do not wait for the client
            client.sendall(b"220 welcome\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            more = client.recv(4096)
            if not more:
                return
            head += more
        self.requests.append(head.partition(b"\r\n\r\n")[0].decode())
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if callable(answer):
            answer(client)
        else:
            client.sendall(answer)

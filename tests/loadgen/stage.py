"""A client of the load and its target on one thread: the test decides what comes when.

The client runs its real life on a real connection, and only what its real epoll reports resumes it.
So a test can make one event of several sends, or let bytes arrive between an event and the read.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from types import TracebackType
from typing import Any, Self

from tcplb.loadgen.client import TURN, Client
from tcplb.loadgen.clients import life_of
from tcplb.loadgen.job import Job, Mode, Target
from tcplb.loadgen.loop import Loop
from tcplb.loadgen.tally import Tally

PATIENCE = 10.0
"""Seconds until a wait is a failure."""

Events = list[tuple[int, int]]


class Stage:
    """One client, and the target's end of its connections."""

    def __init__(
        self,
        mode: Mode = Mode.REQUEST,
        *,
        path: str | None = "/",
        requests: int = 1,
        **changes: Any,
    ) -> None:
        """Prepare a client of so many requests; `begin` lets it go. No path is raw TCP."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        port = self._listener.getsockname()[1]
        target = Target("stage", "127.0.0.1", port, path, f"127.0.0.1:{port}")
        self.loop = Loop(Job(target, mode, **changes), lambda at, tally: None)
        self.loop.left = requests
        self.client = Client(self.loop, life_of(self.loop))
        self.over = False
        self._ends: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.client.script.close()
        self.loop.epoll.close()
        for sock in (self._listener, *self._ends):
            sock.close()

    # The client

    @property
    def tally(self) -> Tally:
        """What the client has counted so far."""
        for fold in self.loop.folds:
            fold()
        return self.loop.tally

    @property
    def waits(self) -> bool:
        """Whether the client waits for the target; not if it is over, has failed or is free."""
        return not self.over and self.client.since > 0

    def begin(self) -> Self:
        """Let the client begin; it runs until it waits."""
        with self._ending():
            self.client.script.send(None)  # type: ignore[arg-type]  # starts a generator
        return self

    def turn(self, ago: int = 0) -> None:
        """Give the client its turn, in an open loop; it was due so many nanoseconds ago."""
        self.loop.due = time.monotonic_ns() - ago
        assert self.loop.free.popleft() is self.client
        self.resume_with(TURN)

    def end_hold(self) -> None:
        """Tell the client that holds a connection that the run is over."""
        self.loop.left = 0
        self.resume_with(TURN)

    def resume_with(self, mask: int) -> None:
        """Resume the client by hand."""
        with self._ending():
            self.client.script.send(mask)

    def events(self) -> Events:
        """Wait for something that the client is to be told; return it without telling."""
        events = self.loop.epoll.poll(PATIENCE)
        assert events, "the client waits, and nothing will ever tell it of what has come"
        return events

    def more_events(self) -> Events:
        """Return what the client is to be told already."""
        return self.loop.epoll.poll(0)

    def tell(self, events: Events) -> None:
        """Tell the client."""
        with self._ending():
            for fd, mask in events:
                self.loop.scripts[fd](mask)

    def wait(self) -> None:
        """Wait for the next event, and tell the client."""
        self.tell(self.events())

    def settle(self) -> None:
        """Tell the client of events until it waits no more."""
        while self.waits:
            self.wait()

    @contextmanager
    def _ending(self) -> Iterator[None]:
        try:
            yield
        except StopIteration:
            self.over = True

    # The target

    @property
    def accepted(self) -> int:
        """Connections accepted so far."""
        return len(self._ends)

    @property
    def end(self) -> socket.socket:
        """The target's end of the last connection that was accepted."""
        return self._ends[-1]

    def accept(self) -> None:
        """Accept the next connection."""
        end, _ = self._listener.accept()
        end.settimeout(PATIENCE)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ends.append(end)

    def nobody_connects(self) -> bool:
        """Whether no connection waits to be accepted."""
        self._listener.setblocking(False)
        try:
            self.accept()
        except BlockingIOError:
            return True
        finally:
            self._listener.settimeout(PATIENCE)
        return False

    def refuse(self) -> None:
        """Listen no more."""
        self._listener.close()

    def heard(self, size: int) -> bytes:
        """Receive exactly so many bytes."""
        data = b""
        while len(data) < size:
            more = self.end.recv(size - len(data))
            assert more, f"the client's end after {data!r}"
            data += more
        return data

    def heard_while_sent(self, size: int) -> bytes:
        """Receive exactly so many bytes, more than the kernel takes at once; answer nothing."""
        data = bytearray()
        self.end.setblocking(False)
        deadline = time.monotonic() + PATIENCE
        while len(data) < size:
            assert time.monotonic() < deadline, f"the client sends no more after {len(data)}"
            with suppress(BlockingIOError):
                data += self.end.recv(size - len(data))
            self.tell(self.more_events())
        self.end.settimeout(PATIENCE)
        return bytes(data)

    def head(self) -> bytes:
        """Receive the head of a request, up to the empty line."""
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += self.heard(1)
        return data

    def say(self, data: bytes) -> None:
        """Send all of it, and tell the client as often as that takes; it may not want it all."""
        self.end.setblocking(False)
        while data and self.waits:
            with suppress(BlockingIOError):
                data = data[self.end.send(data) :]
            self.wait()
        self.end.settimeout(PATIENCE)

    def say_in(self, chunks: Sequence[bytes]) -> None:
        """Send one chunk after the other; the client is told after each."""
        for chunk in chunks:
            self.say(chunk)

    def reset(self) -> None:
        """Reset the connection; the client is not told yet."""
        self.end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.end.close()

    def fin(self) -> None:
        """Send the end; the client is not told yet."""
        self.end.shutdown(socket.SHUT_WR)


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Cut `data` at these places (modulo its length); the pieces are not empty."""
    edges = sorted({0, len(data), *(place % (len(data) or 1) for place in places)})
    return [data[begin:end] for begin, end in pairwise(edges)]

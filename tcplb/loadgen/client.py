"""A client: one connection at a time, driven by a script that reads from top to bottom.

A script is a generator. It does what it can at once, and yields when it has to wait; the loop
resumes it with the epoll mask of its socket, or with `TURN`.
"""

from __future__ import annotations

import errno
import inspect
import os
import select
from collections.abc import Callable, Generator
from time import monotonic_ns
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tcplb.loadgen.loop import Loop

Result = TypeVar("Result")
Waiting = Generator[None, int, Result]
"""What a script is made of: yields to wait, is resumed with a mask, and returns a result."""
Script = Waiting[None]

TURN = 0
"""Resumes a client whose turn it is, or whose pause is over. No epoll mask is 0."""


ENDS = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
"""In the mask of an event: the other side has ended the connection, or it broke."""


class FailedError(Exception):
    """An exchange failed, by the cause in words."""


class NoAnswerError(FailedError):
    """What a client waited for did not come in time; the loop throws it into a script."""


_CAUSES = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ETIMEDOUT: "timed out by the kernel",
    errno.EADDRNOTAVAIL: "no free source port (--source-addresses gives more)",
    errno.EMFILE: "no file descriptor left in the load generator",
    errno.ENFILE: "no file descriptor left in the system",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "no route to the network",
}


def cause_of(error: FailedError | OSError) -> str:
    """Return the cause of a failure in words."""
    if isinstance(error, FailedError):
        return str(error)
    number = error.errno or 0
    return _CAUSES.get(number) or (error.strerror or os.strerror(number)).lower()


def lives(client: Client, life: Callable[[Client], Script]) -> Script:
    """Live one life after another, each with a connection, until nothing is left to do."""
    loop = client.loop
    while client.wanted:
        try:
            yield from life(client)
        except (FailedError, OSError) as error:
            loop.failed(error)
            yield from loop.pause(client)


class Client:
    """One of the clients of a loop."""

    __slots__ = ("_put_back", "ended", "key", "loop", "resume", "script", "since", "source")

    def __init__(self, loop: Loop, life: Callable[[Client], Script]) -> None:
        self.loop = loop
        self.key: int | None = None
        """What its connection is placed by, if keys are told apart."""
        self.source: str | None = None
        """The address that it connects from; None for any."""
        self.since = 0
        """Nanoseconds of the monotonic clock since when it waits for the target; 0: it does not."""
        self.ended = False
        """Whether the target has ended the connection, as far as events have told."""
        self._put_back = 0
        self.script = lives(self, life)
        self.resume = self.script.send

    @property
    def over(self) -> bool:
        """Whether it has nothing left to do."""
        return inspect.getgeneratorstate(self.script) == inspect.GEN_CLOSED

    @property
    def wanted(self) -> bool:
        """Whether there may be another request for it."""
        return self.loop.left > 0 or self._put_back > 0

    def progressed(self) -> None:
        """Begin the time-out anew, if there is one: something has moved."""
        if self.since:
            self.since = monotonic_ns()

    def next_due(self) -> Waiting[int]:
        """Return when the next request is due, in nanoseconds: now, or when its turn came."""
        if self._put_back:
            due, self._put_back = self._put_back, 0
            return due
        due = (yield from self.wait_turn()) if self.loop.open_loop else monotonic_ns()
        self.loop.left -= 1
        return due

    def put_back(self, due: int) -> None:
        """Leave a request for the next connection: the target has `ended` this one before it."""
        self._put_back = due

    def lose_request(self) -> None:
        """Let a failure stand for a request: for the one that was put back, if there is one."""
        if self._put_back:
            self._put_back = 0
        else:
            self.loop.left -= 1

    def wait_turn(self) -> Waiting[int]:
        """Wait until the pace has a request for it; return when that was due, in nanoseconds."""
        self.since = 0
        self.loop.free.append(self)
        while (mask := (yield)) != TURN:
            self.ended = self.ended or bool(mask & ENDS)
        return self.loop.due

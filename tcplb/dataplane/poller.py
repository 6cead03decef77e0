"""Runs coroutines straight from one edge-triggered epoll, nested in the event loop.

A coroutine of the `splice` engine is not a Task and awaits no Future: that costs more than moving
the bytes (docs/performance.md). It is run by `resume`, up to its next wait, by whoever has news for
it; and where it waits, it has made sure that somebody will. That is all the machinery there is::

    event ─▶ Poller._dispatch ─▶ resume(connection.reader or connection.writer)

A pump waits with ``yield None``: it is its connections' `reader` or `writer` all its life. A
session, which waits for one thing and then another, *yields* a callable, which is told who waits::

    yield connection.set_reader       # "wake me when it is readable"
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import Callable, Coroutine, Generator
from math import inf
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP
from types import coroutine
from typing import Any, Protocol, TypeVar

EVENTS = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET
INPUT = EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLHUP | EPOLLERR
OUTPUT = EPOLLOUT | EPOLLHUP | EPOLLERR
TROUBLE = EPOLLPRI | EPOLLERR
INPUT_AND_ROOM = EPOLLIN | EPOLLOUT

BATCH = 256
"""Events taken from the kernel at once."""

TICK = 0.02
"""Seconds between two looks for deadlines that have passed, while there are any."""

Waiting = Coroutine[Any, Any, Any] | Generator[Any, Any, Any]
Attach = Callable[[Waiting], None]
"""What a session yields where it waits: it is told who waits."""

T = TypeVar("T")


class Watched(Protocol):
    """A socket whose events the poller tells, and who waits for them."""

    readable: bool
    """Whether a read may find something."""
    fin_seen: bool
    """The peer's FIN is behind the bytes that are there."""
    wants_input: bool
    """Whether `reader` waits for the next event of input."""
    reader: Waiting
    wants_output: bool
    """Whether `writer` waits until the kernel takes bytes again, after it refused some."""
    writer: Waiting

    def note_trouble(self, events: int) -> None:
        """Hear of an error, or of urgent data."""


class Late(Protocol):
    """What can be late."""

    def time_out(self) -> None:
        """Hear that the deadline has passed."""


log = logging.getLogger("tcplb.engine")


def resume(waiting: Waiting) -> None:
    """Run a coroutine until it waits again, or ends."""
    try:
        attach = waiting.send(None)
        if attach is not None:
            attach(waiting)
    except StopIteration:
        pass
    except Exception:
        # The other events of the batch will not be told again: they must not be lost.
        log.exception("internal error; the other connections go on")


def throw(waiting: Waiting, error: BaseException) -> None:
    """Raise `error` in a coroutine where it waits, and run it on from there."""
    try:
        attach = waiting.throw(error)
    except (StopIteration, asyncio.CancelledError):
        return
    if attach is not None:
        attach(waiting)


class Poller:
    """Tells connections what happened to their descriptors, and coroutines what time it is."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.watched: dict[int, Watched] = {}
        """Who has which descriptor. A connection enters itself, and leaves when it closes."""
        self._epoll: select.epoll | None = None
        self.register: Callable[[int, int], None] = self._open_and_register
        """Watch a descriptor for some events, until it is closed: `epoll.register`."""
        self.deadlines: dict[Late, float] = {}
        """Who is called at which `loop.time`, or up to `TICK` seconds later.

        A timer of the loop for each would cost ten times as much, and hardly any ever fires.
        """
        self._sweep: asyncio.TimerHandle | None = None
        self._again: list[Waiting] = []

    # -- descriptors --------------------------------------------------------------------------

    def close(self) -> None:
        """Give up the epoll, unless a descriptor is still watched."""
        if self._epoll is not None and not self.watched:
            self.loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
            self.register = self._open_and_register

    def _open_and_register(self, descriptor: int, events: int) -> None:
        self._epoll = select.epoll()
        self.loop.add_reader(self._epoll.fileno(), self._dispatch, self._epoll)
        self.register = self._epoll.register
        self.register(descriptor, events)

    def _dispatch(self, epoll: select.epoll) -> None:
        watched = self.watched
        # All events find their socket before the first of them is told: the first may close a
        # descriptor whose number the next connection gets, and a later event is not meant for it.
        for watched_one, events in [(watched[fd], events) for fd, events in epoll.poll(0, BATCH)]:
            # All in one function, for it runs five times a connection and twice a request; and the
            # commonest events first, for a comparison is much cheaper than taking bits apart.
            if events == INPUT_AND_ROOM:
                watched_one.readable = True
            elif events & INPUT:
                watched_one.readable = True
                if events & EPOLLRDHUP:
                    watched_one.fin_seen = True
                if events & TROUBLE:
                    watched_one.note_trouble(events)
            if watched_one.wants_input and watched_one.readable:
                watched_one.wants_input = False
                resume(watched_one.reader)
            if watched_one.wants_output and events & OUTPUT:
                watched_one.wants_output = False
                resume(watched_one.writer)

    # -- time ---------------------------------------------------------------------------------

    def set_deadline(self, late: Late, due: float) -> None:
        """Call `late.time_out` at `due`, unless it is taken out of `deadlines` before."""
        self.deadlines[late] = due
        if self._sweep is None:
            self._sweep = self.loop.call_later(TICK, self._look_at_deadlines)

    def _look_at_deadlines(self) -> None:
        now = self.loop.time()
        self._sweep = None
        for late in [late for late, due in self.deadlines.items() if due <= now]:
            # One that was late may have ended another one that is, or put it off.
            if self.deadlines.get(late, inf) <= now:
                del self.deadlines[late]
                self._time_out(late)
        if self.deadlines and self._sweep is None:
            self._sweep = self.loop.call_later(TICK, self._look_at_deadlines)

    def _time_out(self, late: Late) -> None:
        try:
            late.time_out()
        except Exception:
            log.exception("internal error; the other connections go on")

    def let_others_run(self, waiting: Waiting) -> None:
        """Resume a pump when everybody else has had a turn (it yields this)."""
        if not self._again:
            self.loop.call_soon(self._run_again)
        self._again.append(waiting)

    def _run_again(self) -> None:
        again, self._again = self._again, []
        if self._epoll is not None:
            self._dispatch(self._epoll)  # the others
        for waiting in again:
            resume(waiting)  # does nothing to one that has been closed

    @coroutine
    def sleep(self, seconds: float) -> Generator[Attach, None, None]:
        """Let everybody else run for `seconds`."""
        handles: list[asyncio.Handle] = []

        def attach(waiting: Waiting) -> None:
            handles.append(self.loop.call_later(seconds, resume, waiting))

        try:
            yield attach
        finally:
            for handle in handles:
                handle.cancel()

    async def result_of(self, future: asyncio.Future[T], due: float) -> T:
        """Wait for a future of the loop until `due`, then cancel it. Raises what it raises."""
        waiter = _FutureWaiter(future)
        self.set_deadline(waiter, due)
        try:
            await waiter.until_done()
        finally:
            self.deadlines.pop(waiter, None)
            future.cancel()
        return future.result()


class _FutureWaiter:
    """Wakes a coroutine of ours when a future of the loop is done."""

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future
        self._waiting: Waiting | None = None

    @coroutine
    def until_done(self) -> Generator[Attach, None, None]:
        self._future.add_done_callback(self._wake)
        try:
            yield self._set_waiting
        finally:
            self._waiting = None  # the callback may be on its way already
            self._future.remove_done_callback(self._wake)

    def _set_waiting(self, waiting: Waiting) -> None:
        self._waiting = waiting

    def _wake(self, _: asyncio.Future[Any]) -> None:
        if self._waiting is not None:
            resume(self._waiting)

    def time_out(self) -> None:
        if self._waiting is not None:
            throw(self._waiting, TimeoutError())

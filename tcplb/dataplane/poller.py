"""Runs coroutines straight from one edge-triggered epoll, nested in the event loop.

A coroutine of the `splice` engine is not a Task and awaits no Future: that costs more than moving
the bytes (docs/performance.md). It is run by `resume`, up to its next wait, by whoever has news for
it; and where it waits, it has made sure that somebody will. That is all the machinery there is::

    event ─▶ Poller._dispatch ─▶ connection.on_events ─▶ resume(coroutine)

A pump waits with a bare ``yield``: it is its connections' `reader` or `writer` all its life. A
session, which waits for one thing and then another, *yields* a callable, which is told who waits::

    yield connection.set_reader       # "wake me when it is readable"
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, Protocol, TypeVar

EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLPRI | select.EPOLLET
BATCH = 256
"""Events taken from the kernel at once."""

TICK = 0.02
"""Seconds between two looks for deadlines that have passed, while there are any."""

Waiting = Coroutine[Any, Any, Any] | Generator[Any, Any, Any]
Attach = Callable[[Waiting], None]
"""What a session yields where it waits: it is told who waits."""

OnEvents = Callable[[int], None]
T = TypeVar("T")


class Late(Protocol):
    """What can be late."""

    def time_out(self) -> None:
        """Hear that the deadline has passed."""


log = logging.getLogger("tcplb.engine")


def resume(waiting: Waiting) -> None:
    """Run a coroutine until it waits again, or ends."""
    try:
        attach = waiting.send(None)
    except StopIteration:
        return
    if attach is not None:
        attach(waiting)


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
        self._epoll: select.epoll | None = None
        self._handlers: dict[int, OnEvents] = {}
        self._deadlines: dict[Late, float] = {}
        self._sweep: asyncio.TimerHandle | None = None

    # -- descriptors --------------------------------------------------------------------------

    def add(self, descriptor: int, on_events: OnEvents) -> None:
        """Call `on_events` with each change of readiness from now on, until `forget`."""
        (self._epoll or self._open()).register(descriptor, EVENTS)
        self._handlers[descriptor] = on_events

    def forget(self, descriptor: int) -> None:
        """Forget a descriptor that is closed next, which takes it out of the epoll."""
        del self._handlers[descriptor]

    def close(self) -> None:
        """Give up the epoll, unless a descriptor is still watched. `add` opens a new one."""
        if self._epoll is not None and not self._handlers:
            self.loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _open(self) -> select.epoll:
        self._epoll = select.epoll()
        self.loop.add_reader(self._epoll.fileno(), self._dispatch)
        return self._epoll

    def _dispatch(self) -> None:
        assert self._epoll is not None
        handlers = self._handlers
        # All events find their connection before the first of them is told: the first may close a
        # descriptor whose number the next connection gets, and a later event is not meant for it.
        batch = [(handlers[fd], events) for fd, events in self._epoll.poll(0, BATCH)]
        for on_events, events in batch:
            try:
                on_events(events)
            except Exception:
                # The other events of the batch will not be told again: they must not be lost.
                log.exception("internal error; the other connections go on")

    # -- time ---------------------------------------------------------------------------------

    def set_deadline(self, late: Late, due: float) -> None:
        """Call `late.time_out` at `due` (of `loop.time`) or up to `TICK` seconds later.

        A timer of the loop for each would cost ten times as much, and hardly any ever fires.
        """
        self._deadlines[late] = due
        if self._sweep is None:
            self._sweep = self.loop.call_later(TICK, self._look_at_deadlines)

    def clear_deadline(self, late: Late) -> None:
        """Take a deadline back, if there is one."""
        self._deadlines.pop(late, None)

    def _look_at_deadlines(self) -> None:
        now = self.loop.time()
        self._sweep = None
        for late in [late for late, due in self._deadlines.items() if due <= now]:
            # One that was late may end another one that is.
            if self._deadlines.pop(late, None) is not None:
                self._time_out(late)
        if self._deadlines and self._sweep is None:
            self._sweep = self.loop.call_later(TICK, self._look_at_deadlines)

    def _time_out(self, late: Late) -> None:
        try:
            late.time_out()
        except Exception:
            log.exception("internal error; the other connections go on")

    @coroutine
    def sleep(self, seconds: float) -> Generator[Attach, None, None]:
        """Let everybody else run for `seconds`; 0 is one turn of the loop."""
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
            self.clear_deadline(waiter)
            future.cancel()
        return future.result()


class _FutureWaiter:
    """Wakes a coroutine of ours when a future of the loop is done."""

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future
        self._waiting: Waiting

    @coroutine
    def until_done(self) -> Generator[Attach, None, None]:
        self._future.add_done_callback(self._wake)
        try:
            yield self._set_waiting
        finally:
            self._future.remove_done_callback(self._wake)

    def _set_waiting(self, waiting: Waiting) -> None:
        self._waiting = waiting

    def _wake(self, _: asyncio.Future[Any]) -> None:
        resume(self._waiting)

    def time_out(self) -> None:
        throw(self._waiting, TimeoutError())

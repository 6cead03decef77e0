"""Ends relays on which nothing moves. One timer serves all relays with the same time-out.

Nothing is touched per byte: a relay's progress (its byte counts) is looked at four times in each
time-out, and a relay that stood still for four looks in a row is over. So it ends between 1 and
1.25 time-outs after its last byte.

The delay is the same for all, so the order in which relays are due is the order in which they were
put in: a dict, which keeps it, does what a heap would.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

LOOKS = 4


class Quietable(Protocol):
    """What can be watched for quiet."""

    def progress(self) -> int:
        """Return a number that changes whenever something moves."""

    def expire(self) -> None:
        """Nothing has moved for the whole time-out."""


@dataclass(slots=True)
class _Watch:
    due: float
    progress: int
    looks_left: int


class QuietTimer:
    """Watches any number of relays for one time-out, in seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self._loop = loop
        self._step = timeout / LOOKS
        self._new: dict[Quietable, float] = {}
        """When the first look at each is due. Most are gone by then: no more is done for them."""
        self._watches: dict[Quietable, _Watch] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, relay: Quietable) -> None:
        """Start to watch `relay` from now."""
        self._new[relay] = self._loop.time() + self._step
        if self._timer is None:
            self._timer = self._loop.call_later(self._step, self._look)

    def forget(self, relay: Quietable) -> None:
        """Stop watching `relay`. The timer stops by itself when it finds nobody to watch."""
        if self._new.pop(relay, None) is None:
            self._watches.pop(relay, None)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._new:
            relay, due = next(iter(self._new.items()))
            if due > now:
                break
            del self._new[relay]
            self._watches[relay] = _Watch(now + self._step, relay.progress(), LOOKS)
        while self._watches:
            relay, watch = next(iter(self._watches.items()))
            if watch.due > now:
                break
            del self._watches[relay]
            self._judge(relay, watch, now)
        self._look_again()

    def _look_again(self) -> None:
        first = [next(iter(self._new.values()))] if self._new else []
        if self._watches:
            first.append(next(iter(self._watches.values())).due)
        if first and self._timer is None:
            self._timer = self._loop.call_at(min(first), self._look)

    def _judge(self, relay: Quietable, watch: _Watch, now: float) -> None:
        progress = relay.progress()
        if progress != watch.progress:
            self._watches[relay] = _Watch(now + self._step, progress, LOOKS)
        elif watch.looks_left > 1:
            self._watches[relay] = _Watch(now + self._step, progress, watch.looks_left - 1)
        else:
            relay.expire()


class QuietTimers:
    """The two timers that all relays of one listener share. Time-outs are in seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, idle: float, half_closed: float) -> None:
        self.idle = QuietTimer(loop, idle)
        self.half_closed = QuietTimer(loop, half_closed)

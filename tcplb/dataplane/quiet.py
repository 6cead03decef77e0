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
    progress: int | None
    """At the last look; None before the first one, for it costs a system call or two."""
    looks_left: int


class QuietTimer:
    """Watches any number of relays for one time-out, in seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self._loop = loop
        self._step = timeout / LOOKS
        self._watches: dict[Quietable, _Watch] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, relay: Quietable) -> None:
        """Start to watch `relay` from now."""
        self._insert(relay, None, LOOKS)
        if self._timer is None:
            self._timer = self._loop.call_later(self._step, self._look)

    def forget(self, relay: Quietable) -> None:
        """Stop watching `relay`. The timer stops by itself when it finds nobody to watch."""
        self._watches.pop(relay, None)

    def _insert(self, relay: Quietable, progress: int | None, looks_left: int) -> None:
        self._watches[relay] = _Watch(self._loop.time() + self._step, progress, looks_left)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._watches:
            relay, watch = next(iter(self._watches.items()))
            if watch.due > now:
                self._timer = self._loop.call_at(watch.due, self._look)
                return
            del self._watches[relay]
            self._judge(relay, watch)

    def _judge(self, relay: Quietable, watch: _Watch) -> None:
        progress = relay.progress()
        if progress != watch.progress:
            self._insert(relay, progress, LOOKS)
        elif watch.looks_left > 1:
            self._insert(relay, progress, watch.looks_left - 1)
        else:
            relay.expire()

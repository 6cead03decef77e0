"""The latest things that changed, for whoever wants to see them: the admin API, the dashboard."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

KEPT = 1000
"""How many are kept; the oldest go first."""

Kind = Literal["health", "operator", "reload", "worker", "server"]


@dataclass(frozen=True, slots=True)
class Event:
    """A change, in the words of its log line."""

    number: int
    """1 for the first one of this tcplb, and so on."""
    at: float
    """Seconds since the epoch."""
    kind: Kind
    text: str
    pool: str | None = None
    backend: str | None = None


class Events:
    """What has changed lately, in order."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._last = 0
        self._news = asyncio.Event()

    def add(
        self, kind: Kind, text: str, *, pool: str | None = None, backend: str | None = None
    ) -> None:
        """Note a change, and wake up those who wait for one."""
        self._last += 1
        self._events.append(Event(self._last, self._clock(), kind, text, pool, backend))
        self._news.set()
        self._news = asyncio.Event()

    def after(self, number: int) -> list[Event]:
        """Return the events after `number` that are still kept, the oldest first."""
        return [event for event in self._events if event.number > number]

    async def wait(self, number: int) -> None:
        """Wait until there is an event after `number`."""
        while self._last <= number:
            await self._news.wait()

"""Backends that are being drained: how far they have come, and what happens when time is up."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tcplb.config.models import Config
from tcplb.control.crew import Crew
from tcplb.control.events import Events
from tcplb.control.inquiries import CloseBackend, Found, ListSessions, SessionFilter

LOOK = 1.0
"""Seconds from one look at how far they have come to the next."""
WINDOW = 10.0
"""Seconds over which the sessions that are left at the end are closed, at most."""

log = logging.getLogger("tcplb.reload")

Where = tuple[str, str]
"""A pool and one of its backends."""


@dataclass(slots=True, eq=False)
class Drain:
    """One backend that is being drained. Times are seconds since the epoch."""

    pool: str
    backend: str
    since: float
    deadline: float | None = None
    window: float = WINDOW
    left: int = 0
    oldest: float | None = None
    """When the oldest session that is left was accepted."""
    closing: bool = False
    done: bool = False

    def __str__(self) -> str:
        return f"backend {self.backend} of pool {self.pool}"


class Drains:
    """All drains that are under way. While there is none, nothing is done."""

    def __init__(
        self,
        crew: Crew,
        events: Events,
        *,
        now: Callable[[], float] = time.time,
        look: float = LOOK,
    ) -> None:
        """`now` gives seconds since the epoch, and `look` is how many are between two looks."""
        self._crew = crew
        self._events = events
        self._now = now
        self._interval = look
        self._drains: dict[Where, Drain] = {}
        self._task: asyncio.Task[None] | None = None

    def get(self, pool: str, backend: str) -> Drain | None:
        """Return the drain of a backend, if it is being drained or has been."""
        return self._drains.get((pool, backend))

    def update(self, config: Config) -> None:
        """Follow what the settings in force say."""
        now = self._now()
        self._drains = {
            where: self._drains.get(where) or Drain(*where, since=now)
            for where in _draining(config)
        }
        self._look_after_them()

    def set_timeout(self, pool: str, backend: str, timeout: float | None) -> None:
        """Close what is left of a drain's sessions so many seconds from now; None for never."""
        drain = self._drains[pool, backend]
        drain.deadline = None if timeout is None else self._now() + timeout
        drain.window = WINDOW if timeout is None else min(WINDOW, timeout)
        drain.closing = drain.done = False
        self._look_after_them()

    def to_json(self) -> list[Any]:
        """Return the drains as JSON has them, for `adopt` of another process."""
        return [
            [drain.pool, drain.backend, drain.since, drain.deadline, drain.window]
            for drain in self._drains.values()
        ]

    def adopt(self, told: Iterable[Any]) -> None:
        """Go on with what `to_json` of another process has told, as far as it is still so."""
        for pool, backend, since, deadline, window in told:
            drain = self._drains.get((pool, backend))
            if drain is not None:
                drain.since, drain.deadline, drain.window = since, deadline, window

    async def close(self) -> None:
        """Look after them no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _look_after_them(self) -> None:
        if self._under_way() and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._look_until_done(), name="drains")

    def _under_way(self) -> list[Drain]:
        return [drain for drain in self._drains.values() if not drain.done]

    async def _look_until_done(self) -> None:
        while drains := self._under_way():
            for drain in drains:
                try:
                    await self._look(drain)
                except Exception:
                    log.exception("internal error in the drain of %s", drain)
            await asyncio.sleep(self._interval)

    async def _look(self, drain: Drain) -> None:
        wanted = SessionFilter(pool=drain.pool, backend=drain.backend)
        asked = self._crew.able
        answers = await self._crew.ask(ListSessions(wanted, after=None, limit=1), asked)
        found = [answer for answer in answers.values() if isinstance(answer, Found)]
        drain.left = sum(answer.total for answer in found)
        drain.oldest = min(
            (each.sessions[0].accepted_at for each in found if each.sessions), default=None
        )
        if drain.left == 0 and len(found) == len(asked):  # or who has not answered may have some
            drain.done = True
            self._tell(drain, "is drained: no connection is left")
        elif drain.deadline is not None and self._now() >= drain.deadline and not drain.closing:
            drain.closing = True
            await self._crew.ask(CloseBackend(drain.pool, drain.backend, drain.window))
            left = f"what is left ({drain.left}) is closed within {drain.window:g} s"
            self._tell(drain, f"has had its time: {left}")

    def _tell(self, drain: Drain, what: str) -> None:
        log.info("%s %s", drain, what)
        self._events.add("operator", f"{drain} {what}", pool=drain.pool, backend=drain.backend)


def _draining(config: Config) -> Iterator[Where]:
    for name, pool in config.pools.items():
        for backend in pool.backends:
            if backend.state == "draining":
                yield name, backend.name

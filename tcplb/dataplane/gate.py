"""The limit on connections, over all listeners: full means that accepting pauses."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tcplb.dataplane.counters import Counters
from tcplb.dataplane.throttle import Throttle

log = logging.getLogger("tcplb.limits")


class Gate:
    """Counts the connections that are in, and tells the listeners when to pause and resume."""

    def __init__(self, limit: int, counters: Counters, clock: Callable[[], float]) -> None:
        self.limit = limit
        self._inside = 0
        self._counters = counters
        self._clock = clock
        self._throttle = Throttle()
        self._waiting: list[Callable[[], None]] = []

    def try_enter(self, resume: Callable[[], None]) -> bool:
        """Count one more connection in; if there is no room, `resume` is called when there is."""
        if self._inside < self.limit:
            self._inside += 1
            return True
        self._waiting.append(resume)
        self._counters.pauses += 1
        if self._throttle.allows(self._clock()):
            log.warning(
                "max_connections reached (%d): accepting pauses, clients wait in the backlog",
                self.limit,
            )
        return False

    def leave(self) -> None:
        """Count one connection out, and let the listeners that paused accept again."""
        self._inside -= 1
        waiting, self._waiting = self._waiting, []
        for resume in waiting:
            resume()

"""The limit on connections, over all listeners: full means that accepting pauses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from tcplb.dataplane.counters import Counters
from tcplb.dataplane.throttle import Throttle

LOOK_AGAIN = 0.02
"""Seconds between two looks for a seat that another process may have given back."""

log = logging.getLogger("tcplb.limits")


class Seats(Protocol):
    """Places for connections that several processes share."""

    def try_take(self) -> bool:
        """Take a place, if one is free."""

    def give_back(self) -> None:
        """Give a place back."""


class Gate:
    """Counts the connections that are in, and tells the listeners when to pause and resume."""

    def __init__(
        self,
        limit: int,
        counters: Counters,
        clock: Callable[[], float],
        seats: Seats | None = None,
    ) -> None:
        """Let in `limit` connections at most; each needs one of the `seats` as well, if given."""
        self.limit = limit
        self._seats = seats
        self._inside = 0
        self._counters = counters
        self._clock = clock
        self._throttle = Throttle()
        self._waiting: list[Callable[[], None]] = []
        self._looking = False

    def try_enter(self, resume: Callable[[], None]) -> bool:
        """Count one more connection in; if there is no room, `resume` is called when there is."""
        if self._inside < self.limit and (self._seats is None or self._seats.try_take()):
            self._inside += 1
            return True
        self._waiting.append(resume)
        self._counters.pauses += 1
        if self._throttle.allows(self._clock()):
            log.warning(
                "max_connections reached (%d): accepting pauses, clients wait in the backlog",
                self.limit,
            )
        if self._seats is not None:
            self._look_again_later(self._seats)
        return False

    def leave(self) -> None:
        """Count one connection out, and let the listeners that paused accept again."""
        self._inside -= 1
        if self._seats is not None:
            self._seats.give_back()
        if self._waiting:
            self._resume()

    def _resume(self) -> None:
        waiting, self._waiting = self._waiting, []
        for resume in waiting:
            resume()

    # -- seats: nobody tells when another process gives one back ------------------------------

    def _look_again_later(self, seats: Seats) -> None:
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(LOOK_AGAIN, self._look_again, seats)

    def _look_again(self, seats: Seats) -> None:
        self._looking = False
        if not self._waiting:
            return
        if self._inside < self.limit and seats.try_take():
            seats.give_back()
            self._resume()
        else:
            self._look_again_later(seats)

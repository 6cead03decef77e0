"""The limits on connections, of the process and of a listener: full means that accepting pauses."""

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

    def adopt(self, places: int) -> None:
        """Count so many as taken, be there room or not."""


class Gate:
    """Counts the connections that are in, and tells the listeners when to pause and resume.

    A listener with a limit of its own has a gate of its own, whose parent is that of the process:
    whoever enters it enters both.
    """

    def __init__(
        self,
        limit: int,
        counters: Counters,
        clock: Callable[[], float],
        seats: Seats | None = None,
        *,
        name: str = "",
        parent: Gate | None = None,
    ) -> None:
        """Let in `limit` connections at most; each needs one of the `seats` as well, if given.

        `name` says in the log whose limit it is; the process's needs none.
        """
        self.limit = limit
        self._seats = seats
        self._parent = parent
        self._prefix = f"{name}: " if name else ""
        self._inside = 0
        self._counters = counters
        self._clock = clock
        self._throttle = Throttle()
        self._waiting: list[Callable[[], None]] = []
        self._looking = False

    def change(self, limit: int, seats: Seats | None) -> None:
        """Have another limit from now on; whoever is in stays."""
        if self._seats is None and seats is not None:
            seats.adopt(self._inside)
        elif self._seats is not None and seats is None:
            self._seats.adopt(-self._inside)
        self.limit = limit
        self._seats = seats
        self._resume()

    def try_enter(self, resume: Callable[[], None]) -> bool:
        """Count one more connection in; if there is no room, `resume` is called when there is."""
        if not self._try_take_place():
            self._wait(resume)
            return False
        if self._parent is not None and not self._parent.try_enter(resume):
            self._give_place_back()  # `resume` waits at the parent, which has said so
            return False
        return True

    def leave(self) -> None:
        """Count one connection out, and let the listeners that paused accept again."""
        self._give_place_back()
        if self._parent is not None:
            self._parent.leave()
        if self._waiting:
            self._resume()

    def _try_take_place(self) -> bool:
        if self._inside < self.limit and (self._seats is None or self._seats.try_take()):
            self._inside += 1
            return True
        return False

    def _give_place_back(self) -> None:
        self._inside -= 1
        if self._seats is not None:
            self._seats.give_back()

    def _wait(self, resume: Callable[[], None]) -> None:
        self._waiting.append(resume)
        self._counters.pauses += 1
        if self._throttle.allows(self._clock()):
            log.warning(
                "%smax_connections reached (%d): accepting pauses, clients wait in the backlog",
                self._prefix,
                self.limit,
            )
        if self._seats is not None:
            self._look_again_later()

    def _resume(self) -> None:
        waiting, self._waiting = self._waiting, []
        for resume in waiting:
            resume()

    # -- seats: nobody tells when another process gives one back ------------------------------

    def _look_again_later(self) -> None:
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(LOOK_AGAIN, self._look_again)

    def _look_again(self) -> None:
        self._looking = False
        seats = self._seats  # those of now: there may have been a change since it was asked for
        if not self._waiting or seats is None:
            return
        if self._inside < self.limit and seats.try_take():
            seats.give_back()
            self._resume()
        else:
            self._look_again_later()

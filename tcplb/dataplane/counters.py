"""What the data plane counts: plain integers of one process, that one thread adds to.

What is counted by backend stands in cells that the process is given, so they may be in memory that
others read (`control.scoreboard`): there is nothing to copy, and what a process that is killed has
counted is not lost.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass

from tcplb.dataplane.termination import Termination

CONNECT_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds in seconds of the buckets for dials, and for waits; a last one has the rest."""
SESSION_BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
"""The same for whole sessions."""

_CONNECTIONS, _FAILURES, _RETRIES, _BYTES_UP, _BYTES_DOWN, _CONNECT_US, _SESSION_MS = range(7)
_CONNECT_BUCKETS = 7
_SESSION_BUCKETS = _CONNECT_BUCKETS + len(CONNECT_BOUNDS) + 1
_TERMINATIONS = _SESSION_BUCKETS + len(SESSION_BOUNDS) + 1


@dataclass(slots=True)
class Counters:
    """Plain totals since the start, over all listeners; `active` is the number now."""

    accepted: int = 0
    active: int = 0
    turned_away: int = 0
    """Sessions that ended without a backend."""
    pauses: int = 0
    """How often accepting paused because of `max_connections`."""
    accept_failures: int = 0
    """Accepts that failed, mostly for want of descriptors or memory."""
    killed: int = 0
    """Sessions closed by the shutdown."""
    denied: int = 0
    """Clients refused by an access rule."""
    too_fast: int = 0
    """Clients refused because they connect too fast."""
    queued: int = 0
    """Sessions that had to wait in a queue."""
    queue_full: int = 0
    """Sessions turned away because a queue was full."""
    queue_timed_out: int = 0
    """Sessions turned away because they had waited in a queue for too long."""
    retries: int = 0
    """Dials after a session's first."""
    strategy_failures: int = 0
    """Picks of a user's own strategy that could not be used."""


class RouteCounters:
    """Totals of a route: the sessions of one listener with one backend, or with none."""

    WIDTH = _TERMINATIONS + len(Termination)
    """The cells that it takes."""

    __slots__ = ("_cells",)

    def __init__(self, cells: MutableSequence[int] | memoryview | None = None) -> None:
        """Count in `cells`, `WIDTH` of them, and go on from what they say; or from 0."""
        self._cells = [0] * self.WIDTH if cells is None else cells

    # -- counting -----------------------------------------------------------------------------

    def count_connect(self, seconds: float) -> None:
        """A dial has connected after so long."""
        cells = self._cells
        cells[_CONNECTIONS] += 1
        cells[_CONNECT_US] += int(seconds * 1e6)
        cells[_CONNECT_BUCKETS + bisect_left(CONNECT_BOUNDS, seconds)] += 1

    def count_failure(self) -> None:
        """A dial has not connected, whoever's fault it was."""
        self._cells[_FAILURES] += 1

    def count_retry(self) -> None:
        """A dial begins that is not the session's first."""
        self._cells[_RETRIES] += 1

    def count_end(self, termination: Termination, seconds: float) -> None:
        """A session has ended, so long after it was accepted."""
        cells = self._cells
        cells[_SESSION_MS] += int(seconds * 1e3)
        cells[_SESSION_BUCKETS + bisect_left(SESSION_BOUNDS, seconds)] += 1
        cells[_TERMINATIONS + termination.number] += 1

    def count_bytes(self, up: int, down: int) -> None:
        """A session that has ended had so many bytes, to the backend and from it."""
        cells = self._cells
        cells[_BYTES_UP] += up
        cells[_BYTES_DOWN] += down

    # -- totals -------------------------------------------------------------------------------

    @property
    def connections(self) -> int:
        """Dials that connected."""
        return self._cells[_CONNECTIONS]

    @property
    def connect_failures(self) -> int:
        """Dials that did not."""
        return self._cells[_FAILURES]

    @property
    def retries(self) -> int:
        """Dials that were not the first of their session."""
        return self._cells[_RETRIES]

    @property
    def bytes_up(self) -> int:
        """From clients to the backend, of the sessions that have ended."""
        return self._cells[_BYTES_UP]

    @property
    def bytes_down(self) -> int:
        """From the backend to clients, of the sessions that have ended."""
        return self._cells[_BYTES_DOWN]

    @property
    def connect_seconds(self) -> float:
        """The sum of the times of the dials that connected."""
        return self._cells[_CONNECT_US] / 1e6

    @property
    def connect_buckets(self) -> Sequence[int]:
        """How many dials connected within each of `CONNECT_BOUNDS` but not the one before."""
        return self._cells[_CONNECT_BUCKETS:_SESSION_BUCKETS]

    @property
    def session_seconds(self) -> float:
        """The sum of the times of the sessions that have ended."""
        return self._cells[_SESSION_MS] / 1e3

    @property
    def session_buckets(self) -> Sequence[int]:
        """How many sessions took as long as each of `SESSION_BOUNDS`, like `connect_buckets`."""
        return self._cells[_SESSION_BUCKETS:_TERMINATIONS]

    @property
    def terminations(self) -> Sequence[int]:
        """How many sessions have ended in each way, by `Termination.number`."""
        return self._cells[_TERMINATIONS:]


class QueueCounters:
    """What is counted of the queue of one pool, in cells as those of `RouteCounters`."""

    WIDTH = 2 + len(CONNECT_BOUNDS) + 1
    """The cells that it takes. The first one is `waiting`."""

    __slots__ = ("_cells",)

    def __init__(self, cells: MutableSequence[int] | memoryview | None = None) -> None:
        self._cells = [0] * self.WIDTH if cells is None else cells

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return self._cells[0]

    @waiting.setter
    def waiting(self, number: int) -> None:
        self._cells[0] = number

    def count_wait(self, seconds: float) -> None:
        """Somebody has waited so long, whatever came of it."""
        self._cells[1] += int(seconds * 1e3)
        self._cells[2 + bisect_left(CONNECT_BOUNDS, seconds)] += 1

    @property
    def wait_seconds(self) -> float:
        """The sum of all waits that are over."""
        return self._cells[1] / 1e3

    @property
    def wait_buckets(self) -> Sequence[int]:
        """How many waits took as long as each of `CONNECT_BOUNDS`, like `connect_buckets`."""
        return self._cells[2:]

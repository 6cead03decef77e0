"""Lets sessions arrive, wait, last and end in virtual time, with `Pool` choosing as it does live.

What it leaves out is what no log says: connects that fail, limits of the listener, clients that
would have left the line, and other workers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from math import inf

from tcplb.control.replay.log import Arrival
from tcplb.policy.lease import Lease
from tcplb.policy.pool import Pool
from tcplb.policy.queue import WaitingLine


@dataclass(slots=True, eq=False)
class _Waiter:
    arrival: Arrival
    since: float


class Simulation:
    """One pool that sessions go through. All times are seconds since the first arrival."""

    def __init__(self, pool: Pool, began: float) -> None:
        """Let `pool`, which nobody else uses, serve sessions; the first arrives at `began`."""
        self.pool = pool
        size = len(pool.backends)
        self.connections = [0] * size
        """By the backend's position, as in all these lists."""
        self.peaks = [0] * size
        """The most connections that were open at once."""
        self.busy = [0.0] * size
        """Seconds of all connections together."""
        self.placed: dict[tuple[bytes, int], int] = {}
        """Connections by key and position, if the strategy is keyed."""
        self.waits: list[float] = []
        """How long each one waited that had to, with or without success."""
        self.timed_out = 0
        self.refused = 0
        """Those who came when the line was full, or when there is none."""
        self.without_backend = 0
        """Those who came when the pool had no backend that takes connections."""
        self.ended_at = 0.0
        """When the last session ended."""
        self._began = began
        self._active = [0] * size
        self._timeout = pool.rules.queue.timeout
        self._line: WaitingLine[_Waiter] = WaitingLine(pool.rules.queue.size)
        self._ends: list[tuple[float, int, Lease]] = []
        self._numbers = count()

    def run(self, arrivals: Iterable[Arrival]) -> None:
        """Let `arrivals`, in the order of time, come and all end."""
        began, ends = self._began, self._ends
        for arrival in arrivals:
            now = arrival.at - began
            if ends and ends[0][0] <= now:
                self._advance(now)
            self._arrive(arrival, now)
        self._advance(inf)

    def _arrive(self, arrival: Arrival, now: float) -> None:
        if self._line:
            self._let_go(now)
        # Whoever comes while others wait has to join them, as in `dataplane.queueing`.
        lease = None if self._line else self.pool.acquire(arrival.key, now=now)
        if lease is not None:
            self._begin(arrival, lease, now)
        elif not self.pool.full():
            self.without_backend += 1
        elif not self._line.join(_Waiter(arrival, now)):
            self.refused += 1

    def _advance(self, until: float) -> None:
        """Let all sessions end that are over by then, and give their places away."""
        ends = self._ends
        while ends and ends[0][0] <= until:
            now, _, lease = heappop(ends)
            self._active[lease.position] -= 1
            self.pool.release(lease)
            self.ended_at = now
            if self._line:
                self._pass_on(lease, now)

    def _pass_on(self, freed: Lease, now: float) -> None:
        self._let_go(now)
        waiter = self._line.first()
        if waiter is None:
            return
        lease = self.pool.acquire_freed(freed, now=now)
        if lease is not None:
            self._line.leave(waiter)
            self.waits.append(now - waiter.since)
            self._begin(waiter.arrival, lease, now)

    def _let_go(self, now: float) -> None:
        """Turn those away whose time is over: all wait equally long, so they stand in front."""
        while (waiter := self._line.first()) and waiter.since + self._timeout < now:
            self._line.leave(waiter)
            self.waits.append(self._timeout)
            self.timed_out += 1

    def _begin(self, arrival: Arrival, lease: Lease, now: float) -> None:
        position, active = lease.position, self._active
        self.connections[position] += 1
        self.busy[position] += arrival.lasts
        active[position] += 1
        self.peaks[position] = max(self.peaks[position], active[position])
        if self.pool.keyed:
            where = arrival.key, position
            self.placed[where] = self.placed.get(where, 0) + 1
        heappush(self._ends, (now + arrival.lasts, next(self._numbers), lease))

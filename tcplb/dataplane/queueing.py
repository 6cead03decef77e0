"""Sessions that wait: for room on a backend, or for their turn to try again.

Both lines are first come, first served, and of one pool in one process. What is freed is given to
the first one at once, by whoever frees it, so that nobody who comes later can be quicker.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass

from tcplb.dataplane.counters import QueueCounters
from tcplb.dataplane.engine import Connection
from tcplb.dataplane.termination import Termination
from tcplb.policy.lease import Lease
from tcplb.policy.pool import Pool
from tcplb.policy.queue import WaitingLine
from tcplb.policy.retry import RetryBudget

LOOK_AGAIN = 0.02
"""Seconds between two looks for room that another process, or a recovery, has made."""


@dataclass(slots=True, eq=False)
class Waiter:
    """A session in a line."""

    client: Connection
    key: bytes = b""
    tried: tuple[str, ...] = ()
    lease: Lease | None = None
    """What it has been given, if it waits for room."""
    may_retry: bool = False
    """Whether it has been let go, if it waits for its turn to try again."""


class PoolQueue:
    """The two lines of one pool."""

    def __init__(
        self, pool: Pool, clock: Callable[[], float], counters: QueueCounters | None = None
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._counters = counters or QueueCounters()
        self._line: WaitingLine[Waiter] = WaitingLine(pool.rules.queue.size)
        self._retriers: WaitingLine[Waiter] = WaitingLine(sys.maxsize)
        self._budget = RetryBudget(pool.rules.retry)
        self._looking = False
        self.waiting = 0
        """How many wait for room. While there are any, newcomers have to join them."""

    def refresh(self) -> None:
        """Look at the pool's rules again."""
        self._line.resize(self._pool.rules.queue.size)
        self._budget.follow(self._pool.rules.retry)

    # -- room ---------------------------------------------------------------------------------

    async def wait_for_room(self, waiter: Waiter) -> Termination | None:
        """Wait until `waiter` has a lease; or return why it will not get one.

        It may have one nevertheless, if it was given just then: its owner has to give it back.
        """
        policy = self._pool.rules.queue
        if not self._line.join(waiter):
            return Termination.QUEUE_FULL if policy.size else Termination.ALL_FULL
        self.waiting += 1
        self._counters.waiting = self.waiting
        began = self._clock()
        self._look_again_later()
        try:
            await waiter.client.wait(policy.timeout, until_fin=policy.abort_on_close)
        except TimeoutError:
            return None if waiter.lease else Termination.QUEUE_TIMED_OUT
        except ConnectionResetError:
            return Termination.CLIENT_LEFT_QUEUE
        finally:
            self._counters.count_wait(self._clock() - began)
            if waiter.lease is None:
                self._leave(waiter)
        return None

    def release(self, lease: Lease) -> None:
        """Give `lease` back, or rather its place to the first one who waits for such."""
        self._pool.release(lease)
        if self.waiting and lease.place.usable:
            self._pass_on(lease)

    def _pass_on(self, freed: Lease) -> None:
        now = self._clock()
        for waiter in self._line:
            lease = self._pool.acquire_freed(freed, now=now, exclude=waiter.tried)
            if lease is not None:
                self._grant(waiter, lease)
                return

    def _grant(self, waiter: Waiter, lease: Lease) -> None:
        waiter.lease = lease
        self._leave(waiter)
        waiter.client.wake()

    def _leave(self, waiter: Waiter) -> None:
        self._line.leave(waiter)
        self.waiting -= 1
        self._counters.waiting = self.waiting

    def _look_again_later(self) -> None:
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(LOOK_AGAIN, self._look_again)

    def _look_again(self) -> None:
        """Look for room that nobody has told of: made by another process, or by a recovery."""
        self._looking = False
        now = self._clock()
        for waiter in tuple(self._line):
            lease = self._pool.acquire(waiter.key, now=now, exclude=waiter.tried)
            if lease is not None:
                self._grant(waiter, lease)
            elif not waiter.tried:
                break  # nor is there any for those behind it
        if self.waiting:
            self._look_again_later()

    # -- trying again -------------------------------------------------------------------------

    async def begin_retry(self, waiter: Waiter, timeout: float) -> bool:
        """Wait until the retry budget lets `waiter` try again; False if it must not.

        The budget bounds how many try at once. It turns nobody away who can wait: a connect takes
        milliseconds while a backend is there, so the line moves fast unless all is lost anyway.
        """
        # The budget grows with what is open: there may be room for one more while others wait.
        if not self._retriers and self._budget.try_begin(self._pool.active_total):
            return True
        self._retriers.join(waiter)
        try:
            await waiter.client.wait(timeout, until_fin=False)
        except (TimeoutError, ConnectionResetError):
            if waiter.may_retry:  # it was let go in this very moment
                self.end_retry()
            return False
        except BaseException:
            if waiter.may_retry:
                self.end_retry()
            raise
        finally:
            self._retriers.leave(waiter)
        return True

    def end_retry(self) -> None:
        """A retry's dial is over: the next one may begin."""
        self._budget.end()
        while waiter := self._retriers.first():
            if not self._budget.try_begin(self._pool.active_total):
                return
            self._retriers.leave(waiter)
            waiter.may_retry = True
            waiter.client.wake()

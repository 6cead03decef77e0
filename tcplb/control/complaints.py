"""Counts and logs what goes wrong with strategies of the users' own: a line a minute at most."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tcplb.control.plan import PoolPlan
from tcplb.dataplane.counters import Counters
from tcplb.dataplane.throttle import Throttle

INTERVAL = 60.0
"""Seconds between two lines about one pool."""

log = logging.getLogger("tcplb.strategy")


class Complaints:
    """Those about the strategy of one pool, in one worker."""

    def __init__(self, plan: PoolPlan, counters: Counters, clock: Callable[[], float]) -> None:
        self._pool = plan.name
        self._strategy = plan.strategy.name
        self._counters = counters
        self._clock = clock
        self._throttle = Throttle(INTERVAL)
        self._since_line = 0

    def hear(self, reason: str) -> None:
        """Take note of one pick that round robin made instead, and why."""
        self._counters.strategy_failures += 1
        self._since_line += 1
        if self._throttle.allows(self._clock()):
            log.error(
                "pool %s: strategy %s: %s; round robin was used (%d times since the last line)",
                self._pool,
                self._strategy,
                reason,
                self._since_line,
            )
            self._since_line = 0

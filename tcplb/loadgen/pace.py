"""When requests are due. Pure: no clock.

In an open loop requests are due at a constant rate, whether or not the last ones are answered, so a
target that stops for a while cannot slow the load down and so hide the stall: "coordinated
omission" (Gil Tene, "How NOT to Measure Latency", 2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tcplb.loadgen.job import Job


@dataclass(frozen=True, slots=True)
class Pace:
    """An open loop: `rate` requests per second, reached in `ramp` seconds, `burst` at a time.

    `phase`, from 0 to 1, puts processes that share a load between each other's requests.
    """

    rate: float
    ramp: float = 0.0
    burst: int = 1
    phase: float = 0.0

    @staticmethod
    def of(job: Job) -> Pace:
        """Return the pace of an open loop's job, or of one process's share of it."""
        # Single requests interleave with those of other processes; bursts come all at once.
        phase = 0.0 if job.burst > 1 else job.share / job.shares
        return Pace(job.rate or 0.0, job.ramp, job.burst, phase)

    def due(self, number: int) -> float:
        """Return the second, from the start, at which a request (from 0) is due."""
        first_of_burst = number - number % self.burst
        return self._inverse(first_of_burst + self.phase)

    def count_before(self, seconds: float) -> int:
        """Return how many requests are due in so many seconds."""
        if seconds <= 0:
            return 0
        number = max(math.floor(self._requests(seconds)) - self.burst - 1, 0)
        while self.due(number) < seconds:
            number += 1
        return number

    def _requests(self, seconds: float) -> float:
        """The integral of the rate: it grows linearly during the ramp and is constant after it."""
        if seconds < self.ramp:
            return self.rate * seconds * seconds / (2 * self.ramp)
        return self.rate * (seconds - self.ramp / 2)

    def _inverse(self, requests: float) -> float:
        """The second at which the integral reaches `requests`."""
        in_ramp = self.rate * self.ramp / 2
        if requests < in_ramp:
            return math.sqrt(2 * self.ramp * requests / self.rate)
        return requests / self.rate + self.ramp / 2

"""A rate that holds over all workers together, without locks.

It is the token bucket of `policy.rate` with its one number split in two, so that no two workers
ever write to the same cell:

- `taken`: how many connections the worker has started. The sum over all is what the rate has let
  through.
- `base`: the bucket will be full again at *base* + *sum of taken* × *interval*, where *base* is the
  largest of all. When that instant is over, the bucket has been full for a while; whoever notices
  sets its own base to where the instant is now. Nothing else is ever written there, so a base that
  two workers set at the same time is nearly the same, and the later one counts.

By that, at any moment only so many may have been taken in all: a limit that grows with time, and
`SharedCount.try_add` sees to it that it is not exceeded, however the workers' steps interleave.

**What holds:** in any interval of t seconds, all workers together start no more than
burst + rate · t connections, and one more for each other worker. These come from tokens that are
taken and given back at once: while they are out, somebody else may find the bucket full although
one is missing, and so count a token less than it takes. A worker that ends takes its cells with it,
after which the bucket may be full at once: one burst more for each end of a worker. In the long run
the rate is exact, and nobody gets less than it: a token is at hand for the worker that asks first,
except that two which ask for the last one at the same instant may both have to ask again.
"""

from __future__ import annotations

from tcplb.control.claims import SharedCount
from tcplb.policy.rate import Rate, nanoseconds, seconds


class SharedRate:
    """The part of one worker in a rate; see `dataplane.admission.RateLimiter`.

    `now` is in seconds of a clock that all workers have in common, as the monotonic one of a
    machine.
    """

    __slots__ = ("_base", "_capacity", "_count", "_interval", "_slot", "rate")

    def __init__(self, rate: Rate, taken: memoryview, base: memoryview, slot: int) -> None:
        """Use the cells `slot` of two columns that are all 0 at first.

        When a worker is gone, its two cells are set to 0, and added to nothing.
        """
        self.rate = rate
        self._count = SharedCount(taken, slot)
        self._base = base
        self._slot = slot
        self._capacity = rate.capacity
        self._interval = rate.interval

    def try_take(self, now: float) -> bool:
        """Take a token, if there is one."""
        limit = self._limit(nanoseconds(now))
        return limit > 0 and self._count.try_add(limit)  # where 0 would be no limit

    def ready_in(self, now: float) -> float:
        """Return the seconds until there is a token; 0.0 if there is one."""
        missing = self._count.total() + 1 - self._capacity
        return seconds(max(self._base) + missing * self._interval - nanoseconds(now))

    def give_back(self) -> None:
        """Give back a token that was taken just now and not used."""
        self._count.subtract()

    def _limit(self, now: int) -> int:
        """Return how many all workers together may have taken by `now`, in nanoseconds."""
        # The sum before the base: a base that is older than the sum would grant once more what
        # others have taken between the two.
        taken = self._count.total()
        base = max(self._base)
        if base + taken * self._interval < now:
            base = self._base[self._slot] = now - taken * self._interval
        return (now - base) // self._interval + self._capacity

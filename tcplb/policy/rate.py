"""How fast new connections may come: token buckets.

They are kept by the generic cell rate algorithm (ITU-T I.371, "virtual scheduling"), for which a
bucket is one number: when it will be full again. A token moves that instant into the future by the
time in which one token comes; the bucket is empty when it is further off than a whole bucket.

Instants are whole nanoseconds inside, so that nothing is lost or won by rounding.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from tcplb.policy.addresses import client_key


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second, and so many at once after a quiet time."""

    per_second: int = 0
    """0 for no limit."""
    burst: int = 0
    """0 for those of one second."""

    @property
    def limited(self) -> bool:
        """Whether it is a limit at all; only such a rate can have a bucket."""
        return self.per_second > 0

    @property
    def capacity(self) -> int:
        """The tokens of a full bucket."""
        return self.burst or self.per_second

    @property
    def interval(self) -> int:
        """Nanoseconds in which one token comes, rounded up: never faster than what is said."""
        return -(-1_000_000_000 // self.per_second)


@dataclass(frozen=True, slots=True)
class ClientRate:
    """A rate for each client, or each network of clients."""

    rate: Rate = Rate()
    prefix: int = 32
    """Leading bits of an IPv4 address that make a client."""
    prefix_v6: int = 64
    """The same of IPv6."""
    table_size: int = 100_000
    """Clients that are remembered."""


def nanoseconds(instant: float) -> int:
    """Return an instant, given in seconds, in nanoseconds."""
    return int(instant * 1e9)


def seconds(wait: int) -> float:
    """Return so many nanoseconds in seconds, rounded up to a microsecond; 0.0 if it is over."""
    return -(-wait // 1000) / 1e6 if wait > 0 else 0.0


class TokenBucket:
    """Tokens of one `Rate`, full at the start. `now` is in seconds; going back, it stands still."""

    __slots__ = ("_depth", "_full_at", "_interval", "_latest", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._interval = rate.interval
        self._depth = rate.capacity * rate.interval
        self._latest = 0
        self._full_at = 0

    def try_take(self, now: float) -> bool:
        """Take a token, if there is one."""
        instant = self._advance(now)
        full_at = max(self._full_at, instant) + self._interval
        if full_at - instant > self._depth:
            return False
        self._full_at = full_at
        return True

    def ready_in(self, now: float) -> float:
        """Return the seconds until there is a token; 0.0 if there is one."""
        return seconds(self._full_at + self._interval - self._depth - self._advance(now))

    def give_back(self) -> None:
        """Give back a token that was taken just now and not used."""
        self._full_at -= self._interval

    def _advance(self, now: float) -> int:
        self._latest = max(self._latest, nanoseconds(now))
        return self._latest


class ClientRates:
    """A bucket for each client that was seen of late; `now` is as for `TokenBucket`.

    The least recently seen client is forgotten when the table is full, and begins with a full
    bucket when it comes back: who has more addresses than the table has room is not held up.
    """

    __slots__ = ("_depth", "_full_at", "_interval", "_latest", "rate")

    def __init__(self, rate: ClientRate) -> None:
        self.rate = rate
        self._interval = rate.rate.interval
        self._depth = rate.rate.capacity * self._interval
        self._latest = 0
        self._full_at: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of clients that are remembered."""
        return len(self._full_at)

    def try_take(self, host: str, now: float) -> bool:
        """Take a token of the client at `host`, if it has one; O(1)."""
        self._latest = instant = max(self._latest, nanoseconds(now))
        key = client_key(host, self.rate.prefix, self.rate.prefix_v6)
        before = max(self._full_at.pop(key, instant), instant)
        after = before + self._interval
        granted = after - instant <= self._depth
        self._full_at[key] = after if granted else before
        if len(self._full_at) > self.rate.table_size:
            self._full_at.popitem(last=False)
        return granted

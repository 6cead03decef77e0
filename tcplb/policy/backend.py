"""A backend: a name, an address and a weight. Never a state: that is `health`'s and `pool`'s."""

from __future__ import annotations

from dataclasses import dataclass

MAX_WEIGHT = 256
MAX_TIER = 15


@dataclass(frozen=True, slots=True)
class Backend:
    """One server that connections may be sent to.

    `name` is what places it on a hash ring, so it has to stay the same over restarts; the address
    by default. `weight` is 0 to `MAX_WEIGHT`; 0 gets no new connection. `max_connections` is how
    many it may have at once, over all workers; 0 is no limit. `tier` is its priority, 0 to
    `MAX_TIER`: those of a tier are used only while none of a lower one is usable.
    """

    name: str
    host: str
    port: int
    weight: int = 1
    max_connections: int = 0
    tier: int = 0

    def __str__(self) -> str:
        return self.name

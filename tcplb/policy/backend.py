"""A backend: a name, an address and a weight. Never a state: that is `health`'s and `pool`'s."""

from __future__ import annotations

from dataclasses import dataclass

MAX_WEIGHT = 256


@dataclass(frozen=True, slots=True)
class Backend:
    """One server that connections may be sent to.

    `name` is what places it on a hash ring, so it has to stay the same over restarts; the address
    by default. `weight` is 0 to `MAX_WEIGHT`; 0 gets no new connection.
    """

    name: str
    host: str
    port: int
    weight: int = 1

    def __str__(self) -> str:
        return self.name

"""Which cells of the scoreboard belong to what: numbers that stay the same over reloads.

A number is given to a thing (a backend of a pool, say) when it is first configured, and is that
thing's until nobody counts there any more: that may be long after it was removed, because sessions
live on. Then it is free for something else. A thing that is configured again before that gets its
old number, and its old counts with it.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from tcplb.errors import ChangeError


@dataclass(slots=True)
class Numbers:
    """Those of one kind of thing."""

    kind: str
    """What they are, in the plural, for the error."""
    capacity: int
    in_use: dict[Hashable, int] = field(default_factory=dict)
    leaving: dict[Hashable, int] = field(default_factory=dict)
    """Those of things that are not configured any more, but perhaps still counted."""
    top: int = 0
    """All numbers that have ever been given are less than this."""
    _free: list[int] = field(default_factory=list)

    def assign(self, things: Iterable[Hashable]) -> None:
        """Let these be in use and no others; those that were begin to leave.

        Raises ChangeError if there is no room for them.
        """
        known = self.leaving | self.in_use
        wanted = dict.fromkeys(things)
        self.in_use = {thing: known[thing] for thing in wanted if thing in known}
        self.leaving = {thing: number for thing, number in known.items() if thing not in wanted}
        for thing in wanted:
            if thing not in self.in_use:
                self.in_use[thing] = self._new()

    def __getitem__(self, thing: Hashable) -> int:
        """Return the number of something that is in use."""
        return self.in_use[thing]

    def free(self, number: int) -> None:
        """Let something else have a number that was leaving."""
        self.leaving = {thing: other for thing, other in self.leaving.items() if other != number}
        heapq.heappush(self._free, number)

    def copy(self) -> Numbers:
        """Return numbers that can be changed without these."""
        return Numbers(
            self.kind,
            self.capacity,
            dict(self.in_use),
            dict(self.leaving),
            self.top,
            list(self._free),
        )

    def _new(self) -> int:
        if self._free:
            return heapq.heappop(self._free)
        if self.top == self.capacity:
            raise ChangeError(
                f"there is room for {self.capacity} {self.kind}, those that are being drained "
                "included: restart to have more"
            )
        self.top += 1
        return self.top - 1


@dataclass(frozen=True, slots=True)
class Numbering:
    """The numbers of everything that has cells."""

    backends: Numbers
    """Of (pool, backend)."""
    pools: Numbers
    listeners: Numbers
    rates: Numbers
    """Of (listener, rate): another rate needs cells that begin at 0."""
    routes: Numbers
    """Of (listener, pool, backend); the backend is "" for the sessions that have none."""

    def each(self) -> tuple[Numbers, ...]:
        """Return all kinds, in the order of `Layout`."""
        return (self.backends, self.pools, self.listeners, self.rates, self.routes)

    def copy(self) -> Numbering:
        """Return a numbering that can be changed without this one."""
        return Numbering(*(numbers.copy() for numbers in self.each()))

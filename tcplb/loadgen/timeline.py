"""A run second by second, from the ticks of its processes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tcplb.loadgen.result import Second
from tcplb.loadgen.tally import Tally

_HALF_TICK = 0.125
_OPEN = 3
"""Seconds that ticks are still added to: processes are not exactly at the same time."""


def second_of(at: float) -> int:
    """Return the number of the second that a tick ends; a little more belongs to the last one."""
    return max(math.ceil(at - _HALF_TICK) - 1, 0) if at > 0 else math.ceil(at) - 1


class Timeline:
    """Sums ticks up by second, and keeps but a few figures of each second that is over."""

    def __init__(self) -> None:
        self._over: list[Second] = []
        self._open: dict[int, Tally] = {}

    def add(self, number: int, tally: Tally, connections: int) -> None:
        """Add a tick; `connections` are open at its end. A tick that is very late goes later."""
        if self._over:
            number = max(number, self._over[-1].number + 1)
        second = self._open.setdefault(number, Tally())
        second.merge(tally)
        second.open = max(second.open, connections)
        while len(self._open) > _OPEN:
            self._close(min(self._open))

    def complete(self) -> Sequence[Second]:
        """Return all seconds, in their order. To be called at the end."""
        for number in sorted(self._open):
            self._close(number)
        return self._over

    def _close(self, number: int) -> None:
        self._over.append(Second.of(number, self._open.pop(number)))

"""A bounded line of sessions that wait for something, first come, first served."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """How many sessions wait while every backend is full, and for how long."""

    size: int = 1000
    """0: none waits."""
    timeout: float = 5.0
    """Seconds."""
    abort_on_close: bool = True
    """Whether a client that has sent its FIN while it waits has left."""


class WaitingLine(Generic[T]):
    """Those who wait, in the order in which they came. Every operation is O(1)."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._waiting: OrderedDict[T, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[T]:
        """Go through them, the first one first. Nobody may join or leave meanwhile."""
        return iter(self._waiting)

    def resize(self, size: int) -> None:
        """Let so many wait. If there are more of them already, nobody has to leave."""
        self._size = size

    def first(self) -> T | None:
        """Return the one who has waited for longest, if there is any."""
        return next(iter(self._waiting), None)

    def join(self, one: T) -> bool:
        """Put `one` at the end; False if the line is full."""
        if len(self._waiting) >= self._size:
            return False
        self._waiting[one] = None
        return True

    def leave(self, one: T) -> None:
        """Take `one` out, wherever it stands. It need not be there."""
        self._waiting.pop(one, None)

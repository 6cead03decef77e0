"""The latest changes in what is thought of backends, on the scoreboard for all to see.

A ring of `EVENTS` places. The supervisor, who hears of every change, is the only writer; readers in
any process check an event's number before and after they read it, so that they never see half of
one.

::

    number (from 1; 0 while it is written) | ms since the epoch | position | bytes | text …
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

EVENTS = 512
_CELLS = 32
EVENT_CELLS = EVENTS * _CELLS
_CELL_BYTES = 8
_NUMBER, _TIME, _POSITION, _LENGTH, _TEXT = range(5)
_TEXT_BYTES = (_CELLS - _TEXT) * _CELL_BYTES


@dataclass(frozen=True, slots=True)
class Event:
    """A change, as its log line says it."""

    number: int
    """1 for the first one of this tcplb, and so on."""
    time: float
    """Seconds since the epoch."""
    position: int
    """Where the backend stands, over all pools."""
    text: str
    """Cut to 224 bytes."""


class Events:
    """The ring, in cells that `Scoreboard.events` gives."""

    def __init__(self, cells: memoryview) -> None:
        self._cells = cells
        self._bytes = cells.cast("B")

    def add(self, number: int, time: float, position: int, text: str) -> None:
        """Write event `number`, which takes the place of the one `EVENTS` before it."""
        start = (number - 1) % EVENTS * _CELLS
        written = _cut(text)
        self._cells[start + _NUMBER] = 0
        self._cells[start + _TIME] = int(time * 1000)
        self._cells[start + _POSITION] = position
        self._cells[start + _LENGTH] = len(written)
        first = (start + _TEXT) * _CELL_BYTES
        self._bytes[first : first + len(written)] = written
        self._cells[start + _NUMBER] = number

    def after(self, number: int) -> list[Event]:
        """Return the events after `number` that are still there, the oldest first."""
        return sorted(
            (event for event in self._all() if event.number > number),
            key=lambda event: event.number,
        )

    def _all(self) -> Iterator[Event]:
        for start in range(0, EVENT_CELLS, _CELLS):
            event = self._read(start)
            if event is not None:
                yield event

    def _read(self, start: int) -> Event | None:
        number, time, position, length = self._cells[start : start + _TEXT]
        if not number:
            return None
        first = (start + _TEXT) * _CELL_BYTES
        text = bytes(self._bytes[first : first + min(length, _TEXT_BYTES)])
        if self._cells[start + _NUMBER] != number:
            return None  # it is being replaced
        return Event(number, time / 1000, position, text.decode(errors="replace"))


def _cut(text: str) -> bytes:
    return text.encode(errors="replace")[:_TEXT_BYTES].decode(errors="ignore").encode()

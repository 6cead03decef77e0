"""Those who want to see connections as they end, and how they get to see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tcplb.control.inquiries import EndedConnections, TapFilter
from tcplb.control.wanted import of_tap
from tcplb.dataplane.record import Record

KEPT = 1000
"""Connections that are kept for one who does not read; further ones are lost to him."""
MOST_FILTERS = 4
"""Filters that a worker has to try on each connection; with more, it tells of all, which is
cheaper for it."""
EVERYTHING = TapFilter()


@dataclass(slots=True)
class Told:
    """Connections that have ended: each with its worker, and as the access log has it."""

    records: list[tuple[int, Record]] = field(default_factory=list)
    lost: int = 0
    """How many more there were, after these: they came faster than they were read."""


class _Watcher:
    def __init__(self, wanted: TapFilter) -> None:
        self.wanted = wanted
        self.wants = of_tap(wanted)
        self.told = Told()
        self.news = asyncio.Event()

    def tell(self, worker: int, ended: EndedConnections) -> None:
        told = self.told
        new = [(worker, record) for record in ended.records if self.wants(record)]
        room = KEPT - len(told.records)
        told.records += new[:room]
        told.lost += ended.lost + max(0, len(new) - room)
        if told.records:
            self.news.set()

    async def all(self) -> AsyncIterator[Told]:
        while True:
            await self.news.wait()
            self.news.clear()
            told, self.told = self.told, Told()
            yield told


class Taps:
    """All who watch."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """`changed` is called when `filters` has."""
        self._changed = changed
        self._watchers: list[_Watcher] = []

    @property
    def filters(self) -> tuple[TapFilter, ...]:
        """What the workers are to tell of, and perhaps more."""
        filters = tuple(dict.fromkeys(watcher.wanted for watcher in self._watchers))
        is_simple = len(filters) <= MOST_FILTERS and EVERYTHING not in filters
        return filters if is_simple else (EVERYTHING,)

    @contextmanager
    def watch(self, wanted: TapFilter) -> Iterator[AsyncIterator[Told]]:
        """Return the connections that end from now on, until the context is left.

        Raises ValueError if the client of the filter is no address.
        """
        watcher = _Watcher(wanted)
        self._watchers.append(watcher)
        self._changed()
        try:
            yield watcher.all()
        finally:
            self._watchers.remove(watcher)
            self._changed()

    def tell(self, worker: int, ended: EndedConnections) -> None:
        """Pass on what a worker has told."""
        for watcher in self._watchers:
            watcher.tell(worker, ended)

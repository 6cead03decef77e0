"""Those who want to see connections as they end, and how they get to see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from tcplb.control.answering import is_within
from tcplb.control.inquiries import EndedConnections, TapFilter
from tcplb.control.tap import wanted_termination

KEPT = 1000
"""Connections that are kept for one who does not read; further ones are lost to him."""

Told = tuple[int, dict[str, Any]]
"""The worker, and the connection as the access log has it in its JSON form."""


@dataclass(eq=False)
class _Watcher:
    wanted: TapFilter
    queue: asyncio.Queue[Told] = field(default_factory=lambda: asyncio.Queue(KEPT))

    def wants(self, record: dict[str, Any]) -> bool:
        wanted = self.wanted
        host = record["client"].rpartition(":")[0].strip("[]")
        return (
            wanted.listener in (None, record["listener"])
            and wanted.pool in (None, record["pool"])
            and wanted.backend in (None, record["backend"])
            and wanted_termination(wanted.termination, record["termination"])
            and (wanted.client is None or is_within(host, ip_network(wanted.client, strict=False)))
        )


class Taps:
    """All who watch."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """`changed` is called when `filters` has."""
        self._changed = changed
        self._watchers: list[_Watcher] = []

    @property
    def filters(self) -> tuple[TapFilter, ...]:
        """What the workers are to tell of."""
        return tuple(dict.fromkeys(watcher.wanted for watcher in self._watchers))

    @contextmanager
    def watch(self, wanted: TapFilter) -> Iterator[AsyncIterator[Told]]:
        """Return the connections that end from now on, until the context is left.

        Raises ValueError if the client of the filter is no address.
        """
        if wanted.client is not None:
            ip_network(wanted.client, strict=False)
        watcher = _Watcher(wanted)
        self._watchers.append(watcher)
        self._changed()
        try:
            yield _all_of(watcher.queue)
        finally:
            self._watchers.remove(watcher)
            self._changed()

    def tell(self, worker: int, ended: EndedConnections) -> None:
        """Pass on what a worker has told."""
        for record in ended.records:
            for watcher in self._watchers:
                if watcher.wants(record) and not watcher.queue.full():
                    watcher.queue.put_nowait((worker, record))


async def _all_of(queue: asyncio.Queue[Told]) -> AsyncIterator[Told]:
    while True:
        yield await queue.get()

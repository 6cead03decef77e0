"""Keys: what a connection is placed by, and where each has been seen.

A balancer looks at the first line of a connection, or at its client's address. So a connection has
one path and one source address for life, and the next connection gets the next ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tcplb.loadgen.client import Client
from tcplb.loadgen.job import Job
from tcplb.loadgen.tally import Tally

MAX_SOURCES = 65_534
"""Source addresses: 127.0.0.2 and those that follow."""

_FIRST_SOURCE = (127 << 24) + 2


class Keys:
    """The keys of one process. Each key belongs to one process, so that counts add up."""

    def __init__(self, job: Job, tally: Tally) -> None:
        self._tally = tally
        self._by_path = job.paths > 1
        self._by_source = job.sources > 1
        self._paths = _share(job.paths, job)
        self._sources = _share(job.sources, job)
        self._last: dict[int, str] = {}
        self._moved: set[int] = set()

    def begin_counting(self) -> None:
        """Forget which keys moved during the warm-up, but not where they are."""
        self._moved.clear()

    def take(self, client: Client) -> None:
        """Give a client the next path and source address for its next connection."""
        if self._by_source:
            client.key = next(self._sources)
            client.source = _address(client.key)
        if self._by_path:
            client.key = next(self._paths)

    def met(self, client: Client, backend: str) -> None:
        """Note where the client's key was sent."""
        key = client.key
        if key is None:
            return
        last = self._last.get(key)
        if last == backend:
            return
        self._last[key] = backend
        if last is None:
            self._tally.keys += 1
            return
        self._tally.moves += 1
        if key not in self._moved:
            self._moved.add(key)
            self._tally.keys_moved += 1


def _share(count: int, job: Job) -> Iterator[int]:
    return itertools.cycle(range(job.share, count, job.shares) or (job.share % count,))


def _address(number: int) -> str:
    value = _FIRST_SOURCE + number
    return f"127.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"

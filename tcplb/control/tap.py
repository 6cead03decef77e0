"""A worker's tap: it tells the supervisor of connections as they end, while somebody listens.

It costs a connection next to nothing: records go over as they are, many at a time, and the
supervisor makes of them what is to be shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tcplb.control.inquiries import EndedConnections, TapFilter
from tcplb.control.wanted import of_tap
from tcplb.dataplane.record import Record, RecordSink

GATHER = 0.1
"""Seconds for which records are gathered before they are sent."""
MOST = 2000
"""Records that are sent at once; what ends beyond that is only counted."""


class Tap:
    """Passes records on, and tells of those that anybody wants to see."""

    def __init__(self, sink: RecordSink | None, tell: Callable[[EndedConnections], None]) -> None:
        self._sink = sink
        self._tell = tell
        self._wanted: list[Callable[[Record], bool]] = []
        self._records: list[Record] = []
        self._lost = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def sink(self) -> RecordSink | None:
        """Where sessions are to write their records: past the tap, as long as nobody listens."""
        return self._record if self._wanted else self._sink

    def open(self, filters: tuple[TapFilter, ...]) -> None:
        """Tell of the records that any of these wants; none closes the tap."""
        self._wanted = [of_tap(each) for each in filters]

    def _record(self, record: Record) -> None:
        if self._sink is not None:
            self._sink(record)
        if not any(wants(record) for wants in self._wanted):
            return
        if len(self._records) >= MOST:
            self._lost += 1
            return
        self._records.append(record)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER, self._send)

    def _send(self) -> None:
        self._timer = None
        records, self._records = self._records, []
        lost, self._lost = self._lost, 0
        self._tell(EndedConnections(tuple(records), lost))

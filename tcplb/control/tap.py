"""A worker's tap: it tells the supervisor of connections as they end, while somebody listens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from ipaddress import ip_network

from tcplb.control.answering import Network, is_within
from tcplb.control.inquiries import EndedConnections, TapFilter
from tcplb.dataplane.record import Record, RecordSink, to_json

GATHER = 0.1
"""Seconds for which records are gathered before they are sent."""
MOST = 500
"""Records that are sent at once; what ends beyond that is only counted."""


class Tap:
    """Passes records on, and tells of those that anybody wants to see."""

    def __init__(self, sink: RecordSink | None, tell: Callable[[EndedConnections], None]) -> None:
        self._sink = sink
        self._tell = tell
        self._filters: list[tuple[TapFilter, Network | None]] = []
        self._records: list[Record] = []
        self._lost = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def sink(self) -> RecordSink | None:
        """Where sessions are to write their records: past the tap, as long as nobody listens."""
        return self._record if self._filters else self._sink

    def open(self, filters: tuple[TapFilter, ...]) -> None:
        """Tell of the records that any of these wants; none closes the tap."""
        self._filters = [
            (each, None if each.client is None else ip_network(each.client, strict=False))
            for each in filters
        ]

    def _record(self, record: Record) -> None:
        if self._sink is not None:
            self._sink(record)
        if not any(_wants(wanted, network, record) for wanted, network in self._filters):
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
        self._tell(EndedConnections(tuple(json.loads(to_json(each)) for each in records), lost))


def _wants(wanted: TapFilter, network: Network | None, record: Record) -> bool:
    return (
        wanted.listener in (None, record.listener)
        and wanted.pool in (None, record.pool)
        and wanted.backend in (None, record.backend)
        and wanted_termination(wanted.termination, record.termination.code)
        and (network is None or is_within(record.client_host, network))
    )


def wanted_termination(pattern: str | None, code: str) -> bool:
    """Whether a termination code is one of `pattern`, where ``?`` is any letter."""
    if pattern is None:
        return True
    return len(pattern) == len(code) and all(
        letter in ("?", of_code) for letter, of_code in zip(pattern, code, strict=True)
    )

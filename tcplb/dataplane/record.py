"""The facts of one ended session, and its line in the access log.

The text form has the fields of HAProxy's tcplog in its order (HAProxy's configuration manual,
§8.2.2); the bytes uploaded, which tcplog lacks, come after them::

    127.0.0.1:51234 [22/Nov/2026:14:03:07.123] web web/b1 0/1/57 212 -- 3/3/2/1/+1 0/0 78

The JSON form has the same facts under readable names.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from tcplb.dataplane.termination import Termination

NO_BACKEND = "<NOSRV>"


@dataclass(frozen=True, slots=True)
class Active:
    """Sessions that were open when this one ended, itself included."""

    process: int
    listener: int
    pool: int
    backend: int


@dataclass(frozen=True, slots=True)
class Record:
    """One session, from accept to release. Times are in ms; -1 is "did not come to it"."""

    accepted_at: float
    """Seconds since the epoch."""
    client_host: str
    client_port: int
    listener: str
    pool: str
    backend: str | None
    key: bytes
    """What the strategy placed: a request target or a client address; empty if it needs none."""
    classify_ms: int
    queue_ms: int
    connect_ms: int
    total_ms: int
    bytes_up: int
    bytes_down: int
    attempts: int
    active: Active
    termination: Termination


RecordSink = Callable[[Record], None]


def to_tcplog(record: Record) -> str:
    """Return the record as one line in the order of HAProxy's tcplog, without a line end."""
    retries = f"+{record.attempts - 1}" if record.attempts > 1 else "0"
    active = record.active
    return (
        f"{_endpoint(record)} [{_timestamp(record.accepted_at)}] "
        f"{record.listener} {record.pool}/{record.backend or NO_BACKEND} "
        f"{record.queue_ms}/{record.connect_ms}/{record.total_ms} "
        f"{record.bytes_down} {record.termination.code} "
        f"{active.process}/{active.listener}/{active.pool}/{active.backend}/{retries} "
        f"0/0 {record.bytes_up}"
    )


def to_json(record: Record) -> str:
    """Return the record as one line of JSON, ASCII only, without a line end."""
    active = record.active
    return json.dumps(
        {
            "time": _iso(record.accepted_at),
            "client": _endpoint(record),
            "listener": record.listener,
            "pool": record.pool,
            "backend": record.backend,
            "key": record.key.decode(errors="backslashreplace"),
            "classify_ms": record.classify_ms,
            "queue_ms": record.queue_ms,
            "connect_ms": record.connect_ms,
            "total_ms": record.total_ms,
            "bytes_up": record.bytes_up,
            "bytes_down": record.bytes_down,
            "attempts": record.attempts,
            "active": {
                "process": active.process,
                "listener": active.listener,
                "pool": active.pool,
                "backend": active.backend,
            },
            "termination": record.termination.code,
            "reason": record.termination.reason,
        }
    )


def _endpoint(record: Record) -> str:
    host = record.client_host
    return f"[{host}]:{record.client_port}" if ":" in host else f"{host}:{record.client_port}"


def _timestamp(seconds: float) -> str:
    """Local time as in HAProxy's logs, to the millisecond."""
    whole = int(seconds)
    clock = time.strftime("%d/%b/%Y:%H:%M:%S", time.localtime(whole))
    return f"{clock}.{int((seconds - whole) * 1000):03d}"


def _iso(seconds: float) -> str:
    whole = int(seconds)
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{clock}.{int((seconds - whole) * 1000):03d}Z"

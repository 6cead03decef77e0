"""The facts of one session, noted as they come about, and its line in the access log.

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
from functools import lru_cache
from typing import Any, NamedTuple

from tcplb.dataplane.termination import Termination

NO_BACKEND = "<NOSRV>"


class Active(NamedTuple):
    """Sessions that were open when this one ended, itself included."""

    process: int = 0
    listener: int = 0
    pool: int = 0
    backend: int = 0


NOT_ACTIVE = Active()


@dataclass(slots=True)
class Record:
    """One session, from accept to release. A session writes it; when it is over, it is complete."""

    accepted_at: float
    """Seconds since the epoch."""
    began: float
    """The same instant, in seconds of the clock that times the rest."""
    listener: str
    pool: str
    client_host: str
    client_port: int
    key: bytes = b""
    """What the strategy placed: a request target or a client address; empty if it needs none."""
    classified: float | None = None
    """When there was a key to place; None if it did not come to that."""
    queued: float = 0.0
    """Seconds that it has waited for a backend with room."""
    queue_ahead: int = 0
    """How many waited before it when it joined the queue."""
    attempts: int = 0
    backend: str | None = None
    """The one dialled last."""
    connected: float | None = None
    ended: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    active: Active = NOT_ACTIVE
    termination: Termination = Termination.NORMAL

    @property
    def classify_ms(self) -> int:
        """Milliseconds until there was a key to place; -1 if it did not come to it."""
        return _ms(self.began, self.classified)

    @property
    def queue_ms(self) -> int:
        """Milliseconds spent in a queue; -1 if it did not come to it."""
        return -1 if self.classified is None else int(self.queued * 1000)

    @property
    def connect_ms(self) -> int:
        """Milliseconds for all dials, without the time in a queue; -1 if none connected."""
        if self.classified is None or self.connected is None:
            return -1
        return int((self.connected - self.classified - self.queued) * 1000)

    @property
    def total_ms(self) -> int:
        """Milliseconds from accept to release."""
        return _ms(self.began, self.ended)


RecordSink = Callable[[Record], None]


def to_tcplog(record: Record) -> str:
    """Return the record as one line in the order of HAProxy's tcplog, without a line end."""
    host, attempts = record.client_host, record.attempts
    whole = int(record.accepted_at)
    # One % for all of it: half the time of an f-string with as many fields.
    return "%s:%d [%s.%03d] %s %s/%s %d/%d/%d %d %s %d/%d/%d/%d/%s 0/%d %d" % (  # noqa: UP031
        f"[{host}]" if ":" in host else host,
        record.client_port,
        _clock(whole, time.timezone),
        (record.accepted_at - whole) * 1000,
        record.listener,
        record.pool,
        record.backend or NO_BACKEND,
        record.queue_ms,
        record.connect_ms,
        (record.ended - record.began) * 1000,
        record.bytes_down,
        record.termination.code,
        *record.active,
        f"+{attempts - 1}" if attempts > 1 else "0",
        record.queue_ahead,
        record.bytes_up,
    )


def to_json(record: Record) -> str:
    """Return the record as one line of JSON, ASCII only, without a line end."""
    return json.dumps(to_fields(record))


def to_fields(record: Record) -> dict[str, Any]:
    """Return what the JSON form has, under its names."""
    host = record.client_host
    active = record.active
    return {
        "time": _iso(record.accepted_at),
        "client": f"{f'[{host}]' if ':' in host else host}:{record.client_port}",
        "listener": record.listener,
        "pool": record.pool,
        "backend": record.backend,
        "key": record.key.decode(errors="backslashreplace"),
        "classify_ms": record.classify_ms,
        "queue_ms": record.queue_ms,
        "queue_ahead": record.queue_ahead,
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


def _ms(since: float | None, until: float | None) -> int:
    if since is None or until is None:
        return -1
    return int((until - since) * 1000)


@lru_cache(maxsize=16)  # it changes once a second; strftime and localtime take 3 µs
def _clock(seconds: int, zone: int) -> str:
    """Local time as in HAProxy's logs; `zone` is what it holds for (`time.timezone`)."""
    return time.strftime("%d/%b/%Y:%H:%M:%S", time.localtime(seconds))


def _iso(seconds: float) -> str:
    whole = int(seconds)
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{clock}.{int((seconds - whole) * 1000):03d}Z"

"""The access log's text line, from the JSON form of its record."""

from __future__ import annotations

import json
import time
from calendar import timegm
from collections.abc import Mapping
from typing import Any

from tcplb.dataplane.record import NO_BACKEND
from tcplb.loadgen.reports.figures import printable


def tap_line(record: Mapping[str, Any]) -> str:
    """Return the line that the access log has for the record, see `tcplb.dataplane.record`.

    A record of another form, such as another version's, comes back as JSON.
    """
    try:
        return printable(_line(record))
    except (KeyError, TypeError, ValueError):
        return json.dumps(record)


def _line(record: Mapping[str, Any]) -> str:
    active, attempts = record["active"], record["attempts"]
    counts = "/".join(str(active[scope]) for scope in ("process", "listener", "pool", "backend"))
    return (
        f"{record['client']} [{_clock(record['time'])}] {record['listener']} "
        f"{record['pool']}/{record['backend'] or NO_BACKEND} "
        f"{record['queue_ms']}/{record['connect_ms']}/{record['total_ms']} {record['bytes_down']} "
        f"{record['termination']} {counts}/{f'+{attempts - 1}' if attempts > 1 else '0'} "
        f"0/{record['queue_ahead']} {record['bytes_up']}"
    )


def _clock(text: str) -> str:
    """Return the local time of a moment in UTC, ``2026-11-22T13:03:07.123Z``."""
    whole, _, rest = text.partition(".")
    moment = time.localtime(timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")))
    return f"{time.strftime('%d/%b/%Y:%H:%M:%S', moment)}.{int(rest.removesuffix('Z')):03d}"

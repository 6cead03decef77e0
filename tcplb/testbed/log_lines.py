"""What the balancer's logs say, line by line (`--log-format json`)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_HEALTH_LOGGER = "tcplb.health"
_TRANSITION = re.compile(
    r"pool \S+: backend (?P<backend>\S+) (?:(?P<ejected>ejected for )|is back: )"
)


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the application log."""

    at: float
    """`time.monotonic()` when it was read."""
    kind: str
    """``ejected`` or ``returned`` for what became of a backend, ``log`` for all else."""
    backend: str
    """Empty if it is about none."""
    level: str
    """``info``, ``warning`` or ``error``."""
    text: str
    """The message, in words."""


@dataclass(frozen=True, slots=True)
class SessionLine:
    """A line of the access log."""

    at: float
    """`time.monotonic()` when the session ended, to within a few milliseconds."""
    backend: str | None
    """The one dialled last; None if it did not come to that."""
    attempts: int
    """How many backends were dialled."""
    bytes_up: int
    bytes_down: int
    active_on_backend: int
    """Sessions that the backend had when this one ended, itself included."""
    connect_ms: int
    """Milliseconds for all dials; -1 if none connected."""
    total_ms: int
    """Milliseconds from accept to release."""
    termination: str
    """The two-letter code; ``--`` is a normal end."""
    client: str
    key: str
    """What the strategy placed; empty if it needs none."""


def read_event(line: str, at: float) -> Event:
    """Return what a line of the application log says, read at `at`.

    What is not JSON is no line of the log, but something that went wrong before there was one.
    """
    fields = _object(line)
    if fields is None or "message" not in fields:
        return Event(at, "log", "", "error", line)
    level, text = str(fields.get("level", "")), str(fields["message"])
    match = _TRANSITION.match(text) if fields.get("logger") == _HEALTH_LOGGER else None
    if match is None:
        return Event(at, "log", "", level, text)
    kind = "ejected" if match["ejected"] else "returned"
    return Event(at, kind, match["backend"], level, text)


def read_session(line: str, clock_offset: float) -> SessionLine | None:
    """Return what a line of the access log says, None if it is no such line.

    `clock_offset` is `time.monotonic()` less `time.time()`.
    """
    fields = _object(line)
    if fields is None or "termination" not in fields:
        return None
    accepted = datetime.fromisoformat(fields["time"]).timestamp()
    return SessionLine(
        at=accepted + clock_offset + fields["total_ms"] / 1000,
        backend=fields["backend"],
        attempts=fields["attempts"],
        bytes_up=fields["bytes_up"],
        bytes_down=fields["bytes_down"],
        active_on_backend=fields["active"]["backend"],
        connect_ms=fields["connect_ms"],
        total_ms=fields["total_ms"],
        termination=fields["termination"],
        client=fields["client"],
        key=fields["key"],
    )


def _object(line: str) -> dict[str, Any] | None:
    """Return the JSON object that a line is, None if it is none."""
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None

"""Reads what is to be replayed: the lines of a JSON access log (`dataplane.record.to_json`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any

from pydantic_core import from_json

from tcplb.dataplane.termination import Termination
from tcplb.policy.addresses import client_key
from tcplb.policy.names import KeyRule

LONGEST = 10 * 365 * 86400.0
"""Seconds that a session in a log may last; more is a mistake."""

_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What anything else than a line of a log may raise."""
_REFUSED = {Termination.DENIED.reason, Termination.TOO_FAST.reason}
"""How those end who never get to a pool."""


@dataclass(slots=True, eq=False)
class Arrival:
    """A session of the log."""

    at: float
    """When it was accepted, in seconds since the epoch."""
    lasts: float
    """Seconds, without those it has waited in a queue."""
    key: bytes
    backend: str | None
    """Where it went; None if nobody took it."""


@dataclass(slots=True)
class Log:
    """What is in a log."""

    arrivals: list[Arrival] = field(default_factory=list)
    """In the order in which they were accepted."""
    pools: Counter[str] = field(default_factory=Counter)
    """Sessions by the pool that they went to, those of other pools too."""
    bad_lines: int = 0
    first_bad: str = ""
    """The number of the first bad line and what is wrong with it."""
    unplaced: int = 0
    """Sessions that ended before a backend was to be chosen; they are not replayed."""
    without_key: int = 0
    """Arrivals whose line has no key: the client's address stands in for it."""

    @property
    def backends(self) -> list[str]:
        """The names of the backends in the log, sorted."""
        return sorted({one.backend for one in self.arrivals if one.backend is not None})

    @property
    def turned_away(self) -> int:
        """How many arrivals went to no backend."""
        return sum(one.backend is None for one in self.arrivals)


class LogReader:
    """Reads sessions line by line.

    `pool` is the one whose sessions are wanted, or all are. The key is the one in the log, and the
    client's address by `rule` if there is none, or in any case if it is `key_from_client`.
    """

    def __init__(self, rule: KeyRule, *, pool: str | None = None, key_from_client: bool) -> None:
        self._rule = rule
        self._pool = pool
        self._key_from_client = key_from_client
        self._keys: dict[bytes, bytes] = {}
        self._names: dict[str, str] = {}

    def read(self, lines: Iterable[str]) -> Log:
        """Return what is in `lines`. Those that are no lines of a log are counted."""
        log = Log()
        for number, line in enumerate(lines, 1):
            if not line or line.isspace():
                continue
            try:
                self._take(log, _parse(line))
            except _UNREADABLE as error:
                log.bad_lines += 1
                log.first_bad = log.first_bad or f"line {number}: {_reason(error)}"
        # A line is written when its session ends. Of one instant, they stay as they are written.
        log.arrivals.sort(key=attrgetter("at"))
        return log

    def _take(self, log: Log, record: dict[str, Any]) -> None:
        arrival = self._arrival(log, record)
        pool = str(record.get("pool", ""))
        log.pools[pool] += 1
        if self._pool is not None and pool != self._pool:
            return
        if _is_unplaced(record):
            log.unplaced += 1
            return
        log.without_key += not (record.get("key") or self._key_from_client)
        log.arrivals.append(arrival)

    def _arrival(self, log: Log, record: dict[str, Any]) -> Arrival:
        at = datetime.fromisoformat(record["time"])
        if at.tzinfo is None:
            raise ValueError("its time has no time zone")
        lasts = (_milliseconds(record["total_ms"]) - max(0, record.get("queue_ms", 0))) / 1000
        backend = record.get("backend")
        if backend is not None:
            backend = self._names.setdefault(_text(backend), backend)
        key = self._key(record)
        # One object for all that are equal: a log has many sessions of few keys.
        key = self._keys.setdefault(key, key)
        return Arrival(at.timestamp(), max(0.0, lasts), key, backend)

    def _key(self, record: dict[str, Any]) -> bytes:
        host = _text(record["client"]).rpartition(":")[0].strip("[]")
        key = _text(record.get("key", ""))
        if key and not self._key_from_client:
            return key.encode()
        return client_key(host, self._rule.prefix, self._rule.prefix_v6)


def _parse(line: str) -> Any:
    try:
        # A third of the time of `json.loads`, half of what a line takes altogether.
        return from_json(line, cache_strings="keys")
    except ValueError as error:
        raise ValueError("it is not JSON") from error


def _is_unplaced(record: dict[str, Any]) -> bool:
    if record.get("backend") is not None:
        return False
    return record.get("classify_ms", 0) == -1 or record.get("reason") in _REFUSED


def _milliseconds(value: Any) -> float:
    if not 0 <= value <= LONGEST * 1000:
        raise ValueError("its total_ms is no length of a session")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is something else")
    return value


def _reason(error: Exception) -> str:
    match error:
        case KeyError():
            return f"it has no {error.args[0]}"
        case ValueError():
            return str(error)
        case _:
            return "it is not a line of a JSON access log"

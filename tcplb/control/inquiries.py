"""What the supervisor asks the workers about their sessions, and has them do with those."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from tcplb.dataplane.record import Record

PhaseName = Literal["reading", "queued", "connecting", "data"]


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions are meant; None is any."""

    listener: str | None = None
    pool: str | None = None
    backend: str | None = None
    client: str | None = None
    """An IP address, or a network such as 10.0.0.0/8."""


@dataclass(frozen=True, slots=True)
class TapFilter:
    """Which connections are to be told of when they end; None is any."""

    listener: str | None = None
    pool: str | None = None
    backend: str | None = None
    client: str | None = None
    termination: str | None = None
    """The two letters, where ``?`` is any: ``S?``."""


class SessionFacts(NamedTuple):
    """One open session.

    A tuple, because a worker makes and pickles a thousand of them in one go while its own sessions
    wait: as dataclasses these took 5 ms, and take 2.
    """

    accepted_at: float
    """Seconds since the epoch."""
    number: int
    """That of the connection in its worker."""
    client_host: str
    client_port: int
    listener: str
    pool: str
    backend: str | None
    phase: PhaseName
    bytes_up: int
    bytes_down: int
    key: bytes


# -- questions, and their answers -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListSessions:
    """Which sessions are open? The answer is `Found`."""

    wanted: SessionFilter
    after: tuple[float, int] | None
    """Only those accepted after this instant, or at it with a larger number."""
    limit: int


@dataclass(frozen=True, slots=True)
class Found:
    """Some open sessions, the oldest first."""

    sessions: tuple[SessionFacts, ...]
    total: int
    """How many there are, those before and after these included."""


@dataclass(frozen=True, slots=True)
class CloseSession:
    """Close one; the answer is whether there was one of that number."""

    number: int


@dataclass(frozen=True, slots=True)
class CloseBackend:
    """Close those that a backend has, spread over a while; the answer is how many there are."""

    pool: str
    backend: str
    window: float
    """Seconds."""


Question = ListSessions | CloseSession | CloseBackend
Answer = Found | bool | int | None


# -- connections as they end ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EndedConnections:
    """Some that have ended."""

    records: tuple[Record, ...]
    lost: int
    """How many more have ended meanwhile that are not told of: they came too fast."""

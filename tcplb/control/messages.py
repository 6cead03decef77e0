"""What the supervisor and a worker tell each other."""

from __future__ import annotations

from dataclasses import dataclass

from tcplb.control.inquiries import Answer, EndedConnections, Question, TapFilter
from tcplb.control.plan import Plan
from tcplb.policy.transition import Transition

# -- to a worker ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listen:
    """Accept on the socket that comes with this, for the listener that has that address."""

    set_number: int
    """Sockets are given and taken in sets: one for each address that is listened on."""
    address: int
    """As in `ListenerPlan.addresses`."""


@dataclass(frozen=True, slots=True)
class HandBack:
    """Accept no more on that set of sockets, and leave what waits in them: others will take it."""

    set_number: int


@dataclass(frozen=True, slots=True)
class Reload:
    """Go by another plan from now on."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Ask:
    """Answer a question."""

    number: int
    """Of the question; the answer has it too."""
    question: Question


@dataclass(frozen=True, slots=True)
class OpenTap:
    """Tell of connections that end and that any of these wants; none for telling of none."""

    filters: tuple[TapFilter, ...]


@dataclass(frozen=True, slots=True)
class ReopenLogs:
    """A log rotation has moved the files away."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Accept what waits in the sockets that you have, then let sessions end, then end."""

    timeout: float
    """Seconds after which sessions that are still open are cut off."""


@dataclass(frozen=True, slots=True)
class Force:
    """Cut off what is still open now."""


# -- both ways --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """A worker's view of a backend has changed; the others are to follow."""

    pool: str
    transition: Transition
    address: tuple[str, int] | None = None
    """Where that backend is in the worker's plan, if a worker says so: by then the name may be
    another one's."""


# -- from a worker ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """All is built; sockets can come."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot start; `reason` is for the user. It ends now."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reloaded:
    """It goes by the plan of that generation; or by the one before, if `failure` says why."""

    generation: int
    failure: str = ""
    leaving: tuple[tuple[int, int], ...] = ()
    """The cells that its plan has not got and that it may still write to; see `Unused`."""


@dataclass(frozen=True, slots=True)
class Unused:
    """It will not write any more to these cells of the scoreboard, which its plan has not got."""

    generation: int
    """That of its plan."""
    cells: tuple[tuple[int, int], ...]
    """Kind, by its place in `Layout`, and number."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a question."""

    number: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class Draining:
    """It accepts no more, and has that many sessions open."""

    open_sessions: int


@dataclass(frozen=True, slots=True)
class Ended:
    """It has cut off that many sessions, and ends now. Its totals are on the scoreboard."""

    cut: int


Message = (
    Listen
    | HandBack
    | Ask
    | OpenTap
    | Reload
    | ReopenLogs
    | Drain
    | Force
    | Verdict
    | Ready
    | Failed
    | Reloaded
    | Unused
    | Answered
    | EndedConnections
    | Draining
    | Ended
)

"""How sessions end: HAProxy's two-letter termination codes, and the same in plain English.

The first letter says who or what ended the session (C client, S backend, c and s their time-outs,
P a limit or rule of ours, R our resources, K killed by the operator, I a bug of ours), the second
in which phase it was: R reading the first line, Q in the queue, C connecting, D data. See HAProxy's
configuration manual, §8.5.
"""

from __future__ import annotations

from enum import Enum

from tcplb.policy.outcome import Outcome


class Termination(Enum):
    """One way for a session to end: (code, reason in words)."""

    NORMAL = ("--", "both sides closed")
    DENIED = ("PR", "an access rule of the listener denies the client")
    TOO_FAST = ("PR", "the client connects faster than per_client allows")
    CLIENT_RESET_EARLY = ("CR", "the client reset the connection before a backend was chosen")
    CLIENT_LEFT_QUEUE = ("CQ", "the client left while it waited in the queue")
    QUEUE_TIMED_OUT = ("sQ", "no backend had room within the queue's time-out")
    QUEUE_FULL = ("PQ", "every backend is at its max_connections and the queue is full")
    CLIENT_RESET_CONNECTING = ("CC", "the client reset the connection while a backend was dialled")
    CLIENT_RESET = ("CD", "the client reset the connection")
    BACKEND_RESET = ("SD", "the backend reset the connection")
    NO_BACKEND = ("SC", "no backend is configured to take connections")
    ALL_FULL = ("SC", "every backend is at its max_connections")
    CONNECT_FAILED = ("SC", "no backend could be reached")
    CONNECT_TIMED_OUT = ("sC", "no backend answered in time")
    NO_RESOURCES = ("RC", "out of file descriptors, local ports or memory")
    IDLE = ("cD", "no byte moved for the idle time-out")
    CLIENT_STAYED_OPEN = ("cD", "the client did not end within the half-close time-out")
    BACKEND_STAYED_OPEN = ("sD", "the backend did not end within the half-close time-out")
    KILLED_READING = ("KR", "closed by the shutdown while its first line was read")
    KILLED_QUEUED = ("KQ", "closed by the shutdown while it waited in the queue")
    KILLED_CONNECTING = ("KC", "closed by the shutdown while a backend was dialled")
    KILLED = ("KD", "closed by the shutdown when the drain time-out was over")
    CLOSED = ("KD", "closed by the operator")
    BUG_READING = ("IR", "internal error while its first line was read, see the log")
    BUG_QUEUED = ("IQ", "internal error while it waited in the queue, see the log")
    BUG_CONNECTING = ("IC", "internal error while a backend was dialled, see the log")
    BUG = ("ID", "internal error, see the log")

    def __init__(self, code: str, reason: str) -> None:
        self.number = len(type(self).__members__)
        """From 0, in the order above: by which they are counted."""
        self.code = code
        """The two letters."""
        self.reason = reason
        """The same in plain English."""

    @property
    def without_backend(self) -> bool:
        """Whether the session was turned away because no backend could take it."""
        return self in _TURNED_AWAY


_TURNED_AWAY = frozenset(
    {
        Termination.NO_BACKEND,
        Termination.ALL_FULL,
        Termination.QUEUE_FULL,
        Termination.QUEUE_TIMED_OUT,
        Termination.CONNECT_FAILED,
        Termination.CONNECT_TIMED_OUT,
        Termination.NO_RESOURCES,
    }
)


class Phase(Enum):
    """How far a session has come, and what it is called when it is cut off there."""

    READING = (Termination.KILLED_READING, Termination.BUG_READING)
    QUEUED = (Termination.KILLED_QUEUED, Termination.BUG_QUEUED)
    CONNECTING = (Termination.KILLED_CONNECTING, Termination.BUG_CONNECTING)
    DATA = (Termination.KILLED, Termination.BUG)

    def __init__(self, killed: Termination, bug: Termination) -> None:
        self.killed = killed
        """How a session ends that the shutdown cuts off in this phase."""
        self.bug = bug
        """How a session ends that meets a bug of ours in this phase."""


def after_failed_dial(outcome: Outcome) -> Termination:
    """Return how a session ends whose last dial had this outcome."""
    if outcome is Outcome.TIMED_OUT:
        return Termination.CONNECT_TIMED_OUT
    if outcome is Outcome.NO_RESOURCES:
        return Termination.NO_RESOURCES
    return Termination.CONNECT_FAILED

"""How an attempt to connect to a backend ended, and whose fault that was."""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """The result of one dial. The value is the plain English used in logs."""

    CONNECTED = "connected"
    REFUSED = "refused"
    TIMED_OUT = "timed out"
    UNREACHABLE = "unreachable"
    UNRESOLVED = "name not resolved"
    NO_ANSWER = "closed before its first byte"
    NO_RESOURCES = "no local file descriptor, port or memory"
    ABANDONED = "abandoned"

    @property
    def blames_backend(self) -> bool:
        """Whether this counts against the backend's health.

        Running out of our own descriptors or ports says nothing about the backend, and neither
        does a dial that was given up because the client left or the process is ending.
        """
        return self in _BACKENDS_FAULT


_BACKENDS_FAULT = frozenset(
    {Outcome.REFUSED, Outcome.TIMED_OUT, Outcome.UNREACHABLE, Outcome.UNRESOLVED, Outcome.NO_ANSWER}
)

"""What may be thought of a backend, and how a change of it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Mode(Enum):
    """What the operator says of a backend."""

    ENABLED = "enabled"
    DRAINING = "draining"
    """No new connections; those that are open live on."""
    DISABLED = "disabled"
    """No new connections, and no checks."""


class Checked(Enum):
    """What active checks say of a backend. One that is not checked is up."""

    UP = "up"
    DOWN = "down"


class State(Enum):
    """What the connects of clients say of a backend (passive health)."""

    IN = "in"
    EJECTED = "ejected"
    ON_TRIAL = "on trial"


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state that is worth a log line, with the evidence for it.

    It is also the news of it for other processes, which `Health.learn` takes. Times are seconds of
    a clock that they share.
    """

    backend: str
    state: State | Checked | Mode
    reason: str
    until: float = 0.0
    """When the ejection is over, or when the trial has ended at the latest; 0 for all else."""
    ejections: int = 0
    """How many ejections in a row this one makes."""
    at: float = field(default=0.0, compare=False)
    """How old the evidence is: when the last dial that failed began, or the one succeeded."""

    def __str__(self) -> str:
        return f"backend {self.backend} {self.reason}"

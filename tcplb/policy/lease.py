"""A backend that was chosen for a connection, and counted."""

from __future__ import annotations

from dataclasses import dataclass

from tcplb.policy.backend import Backend
from tcplb.policy.tier import Place


@dataclass(slots=True, eq=False)
class Lease:
    """A backend chosen and counted for one dial. Give it back with `Pool.release`."""

    backend: Backend
    trial: bool
    """This connection finds out whether an ejected backend has come back."""
    acquired_at: float
    position: int
    """The backend's position in its pool, by which it is counted."""
    place: Place
    """Here so that nobody has to look it up again."""

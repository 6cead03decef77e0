"""What the data plane counts, over all listeners."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Plain totals since the start; `active` is the number now."""

    accepted: int = 0
    active: int = 0
    turned_away: int = 0
    """Sessions that ended without a backend."""
    pauses: int = 0
    """How often accepting paused because of `max_connections`."""
    accept_failures: int = 0
    """Accepts that failed, mostly for want of descriptors or memory."""
    killed: int = 0
    """Sessions closed by the shutdown."""

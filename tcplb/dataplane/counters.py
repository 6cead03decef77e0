"""What the data plane counts: plain integers of one process, that one thread adds to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Plain totals since the start, over all listeners; `active` is the number now."""

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


@dataclass(slots=True)
class BackendCounters:
    """Plain totals of one backend since the start."""

    connections: int = 0
    """Dials that connected."""
    connect_failures: int = 0
    """Dials that did not, whoever's fault it was."""
    bytes_up: int = 0
    """From clients to the backend, of the sessions that have ended."""
    bytes_down: int = 0
    """From the backend to clients, of the sessions that have ended."""

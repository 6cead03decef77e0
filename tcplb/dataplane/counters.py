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
    denied: int = 0
    """Clients refused by an access rule."""
    too_fast: int = 0
    """Clients refused because they connect too fast."""
    queued: int = 0
    """Sessions that had to wait in a queue."""
    queue_full: int = 0
    """Sessions turned away because a queue was full."""
    queue_timed_out: int = 0
    """Sessions turned away because they had waited in a queue for too long."""
    retries: int = 0
    """Dials after a session's first."""
    strategy_failures: int = 0
    """Picks of a user's own strategy that could not be used."""


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

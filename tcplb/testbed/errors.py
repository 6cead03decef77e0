"""What can go wrong with processes of ours."""

from __future__ import annotations


class BedError(Exception):
    """A backend or the balancer cannot be started; the message is meant for the user."""


class PortTakenError(BedError):
    """Somebody else listens on the port."""

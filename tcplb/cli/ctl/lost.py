"""What is said when a stream is lost, and how long a stream may be followed."""

from __future__ import annotations

from tcplb.cli.ctl.output import note


def say_lost(why: str, left: int) -> None:
    """Say that a stream was lost, and that it is tried to get it back."""
    note(f"tcplb: {why}; trying again ({left} left)")

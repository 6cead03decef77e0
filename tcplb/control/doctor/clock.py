"""Is the clock right, so that logs of several machines can be put side by side?"""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime

from tcplb.control.doctor.finding import Finding, ok, problem, unknown, warning
from tcplb.control.doctor.machine import Machine

_CHECK = "clock"
_RELEASED = datetime(2025, 1, 1, tzinfo=UTC)
"""Before this there was no tcplb."""
_PATIENCE = 2.0
"""Seconds that timedatectl may take."""


def check_clock(machine: Machine, now: datetime, synchronised: bool | None) -> Finding:
    """Check the clock, which says it is `now`; `synchronised` is what `ask_timedatectl` said."""
    shown = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if now < _RELEASED:
        return problem(_CHECK, f"it is {shown}, which cannot be", "timedatectl set-ntp true")
    if machine.exists("run/systemd/timesync/synchronized") or synchronised:
        return ok(_CHECK, f"{shown}, synchronised")
    if synchronised is None:
        return unknown(
            _CHECK,
            f"{shown}; whether it is synchronised is not to be seen here",
            "compare it with another machine's: date --utc",
        )
    return warning(_CHECK, f"{shown}, not synchronised", "timedatectl set-ntp true")


def ask_timedatectl() -> bool | None:
    """Return whether the kernel takes its clock for synchronised; None if nobody says."""
    try:
        done = subprocess.run(
            ["timedatectl", "show", "--property=NTPSynchronized", "--value"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip())

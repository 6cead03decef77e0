"""Where a run took place: what a reader has to know to compare it with another one."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from bench import cores


def describe_machine(*, awake: bool) -> dict[str, str]:
    """Return the machine's description, by what a report calls each part.

    `awake` is what `cores.kept_awake` said.
    """
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu_model(),
        "cores": f"{len(cores.ALL)} usable of {os.cpu_count()}",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "pinning": describe_pinning(cores.BALANCER, cores.LOAD),
        "idle cores": "kept awake" if awake else "may sleep: waking them is charged to balancers",
    }


def describe_pinning(balancer: frozenset[int], load: frozenset[int]) -> str:
    """Say in words what runs where."""
    if balancer == load:
        return "one core only: balancer, load and backends compete for it"
    where = ", ".join(map(str, sorted(load)))
    return f"balancer on core {', '.join(map(str, sorted(balancer)))}, load and backends on {where}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()

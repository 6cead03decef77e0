"""The metrics of the processes: the workers' states, and what the system says each one uses."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from tcplb.control.crew import Crew
from tcplb.control.metrics_text import Family, labels
from tcplb.control.scoreboard import Scoreboard
from tcplb.control.slot import Slot

PROC = Path("/proc")
_STATES = ("ready", "starting", "draining", "restarting")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process uses."""

    open_files: int
    max_open_files: float
    """The soft limit; infinite if there is none."""
    resident_memory: int
    """Bytes."""
    cpu_seconds: float
    """User and system time since it was started."""


def usage_of(pid: int, proc: Path = PROC) -> Usage | None:
    """Return what a process uses; None if it is gone, or if there is no /proc (see proc(5))."""
    process = proc / str(pid)
    try:
        # The name of the program comes first, in parentheses; it may have spaces and parentheses.
        fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return Usage(
            open_files=_entries(process / "fd"),
            max_open_files=_soft_limit((process / "limits").read_text()),
            resident_memory=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
            cpu_seconds=ticks / os.sysconf("SC_CLK_TCK"),
        )
    except (OSError, ValueError, IndexError):
        return None


def _entries(folder: Path) -> int:
    # Linux says so itself since 6.2; to list 100,000 descriptors takes a while.
    return folder.stat().st_size or len(os.listdir(folder))  # noqa: PTH208 - only how many


def _soft_limit(limits: str) -> float:
    """Return the soft limit of open files out of /proc/PID/limits. Raises ValueError."""
    name = "Max open files"
    for line in limits.splitlines():
        if line.startswith(name):
            soft = line.removeprefix(name).split()[0]
            return inf if soft == "unlimited" else int(soft)
    raise ValueError(f"no {name!r} among the limits")


def process_metrics(
    crew: Crew, board: Scoreboard, now: float, proc: Path = PROC
) -> Sequence[Family]:
    """Return how the workers are; `now` is the monotonic clock, in seconds."""
    return (*_worker_metrics(crew, board, now), *_usage_metrics(crew.slots, proc))


def state_of(slot: Slot) -> str:
    """Return the state of a worker: ready, starting, draining, or restarting, if there is none."""
    if slot.process is None:
        return "restarting"
    if slot.process.draining:
        return "draining"
    return "ready" if slot.ready else "starting"


def _worker_metrics(crew: Crew, board: Scoreboard, now: float) -> Sequence[Family]:
    workers = Family("tcplb_workers", "gauge", "Workers by state.")
    restarts = Family(
        "tcplb_worker_restarts_total", "counter", "Workers that died and had to be replaced."
    )
    lag = Family(
        "tcplb_event_loop_lag_seconds", "gauge", "How late the worker's event loop was last."
    )
    age = Family(
        "tcplb_worker_heartbeat_age_seconds", "gauge", "How long ago the worker was last heard of."
    )
    active = Family(
        "tcplb_worker_connections_active",
        "gauge",
        "Connections that the worker has open, those of listeners that are gone included.",
    )
    states = [state_of(slot) for slot in crew.slots]
    for state in _STATES:
        workers.add(states.count(state), labels(state=state))
    restarts.add(crew.restarts)
    for slot in crew.slots:
        beat = board.heartbeat(slot.number)
        if beat:  # else it has not begun yet
            which = labels(worker=str(slot.number + 1))
            lag.add(board.lag(slot.number), which)
            age.add(max(0.0, now - beat), which)
            active.add(board.sessions(slot.number), which)
    return workers, restarts, active, lag, age


def _usage_metrics(slots: Sequence[Slot], proc: Path) -> Sequence[Family]:
    open_files = Family("tcplb_open_files", "gauge", "File descriptors that the process has open.")
    max_open_files = Family(
        "tcplb_max_open_files", "gauge", "The most file descriptors that the process may have open."
    )
    memory = Family(
        "tcplb_resident_memory_bytes", "gauge", "Memory of the process that is not swapped out."
    )
    cpu = Family("tcplb_cpu_seconds_total", "counter", "CPU time of the process, user and system.")
    for name, pid in _processes(slots):
        usage = usage_of(pid, proc)
        if usage is not None:
            which = labels(process=name)
            open_files.add(usage.open_files, which)
            max_open_files.add(usage.max_open_files, which)
            memory.add(usage.resident_memory, which)
            cpu.add(usage.cpu_seconds, which)
    return open_files, max_open_files, memory, cpu


def _processes(slots: Sequence[Slot]) -> Iterator[tuple[str, int]]:
    yield "supervisor", os.getpid()
    for slot in slots:
        if slot.process is not None:
            yield slot.name, slot.process.pid

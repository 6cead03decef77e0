"""CPU time and memory of a process and all its descendants.

CPU time is read from the kernel's clock of each process (clock_getcpuclockid(3)). It counts
nanoseconds and includes threads that have ended. The alternatives are worse: utime and stime in
/proc/PID/stat count ticks of 10 ms, and /proc/PID/task/*/schedstat loses a thread when it ends.

Memory is PSS: a page that several processes share is split between them, so that forked workers
are not counted many times over. It is user-space memory; socket buffers are the kernel's.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_CPU_CLOCK = 2
"""CPUCLOCK_SCHED of the kernel's <posix-timers.h>, in the low bits of a process's clock id."""

_PARENT, _CHILDREN_USER, _CHILDREN_SYSTEM = 1, 13, 14
"""Places in /proc/PID/stat, counted after the command's name."""


def tree(root: int) -> list[int]:
    """Return the process ids of `root` and of its living descendants."""
    children: dict[int, list[int]] = {}
    for pid in _all_processes():
        if fields := _stat(pid):
            children.setdefault(int(fields[_PARENT]), []).append(pid)
    found = [root]
    for pid in found:  # grows while it is walked
        found += children.get(pid, [])
    return found


def cpu_seconds(root: int) -> float:
    """Return the seconds of CPU time that the tree of `root` has used, in user and kernel mode.

    A descendant that has ended counts once its parent has waited for it.
    """
    return sum(_own_seconds(pid) + _reaped_seconds(pid) for pid in tree(root))


def memory_bytes(root: int) -> int:
    """Return the proportional set size (PSS) of the tree of `root`, in bytes."""
    return sum(_pss(pid) for pid in tree(root))


def _all_processes() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:  # it has just ended
        return None
    return text.rpartition(")")[2].split()


def _own_seconds(pid: int) -> float:
    with contextlib.suppress(OSError):
        return time.clock_gettime(~pid << 3 | _CPU_CLOCK)
    return 0.0


def _reaped_seconds(pid: int) -> float:
    fields = _stat(pid)
    if fields is None:
        return 0.0
    return (int(fields[_CHILDREN_USER]) + int(fields[_CHILDREN_SYSTEM])) / _TICKS_PER_SECOND


def _pss(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0

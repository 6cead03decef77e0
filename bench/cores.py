"""Which core does what, and how it is scheduled there.

The balancer has the first core, load and backends share the last one. A balancer pays for waking
its neighbours: the kernel interrupts the other core, which costs several microseconds in a virtual
machine and is charged to whoever sent the packet. Over a real network nobody pays that. So load and
backends do not interrupt each other where CPU time is what counts, and sleeping cores are kept from
falling asleep where the system allows it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from enum import IntEnum

ALL = frozenset(os.sched_getaffinity(0))
"""The cores that this process was given when it started."""

BALANCER = frozenset({min(ALL)})
LOAD = frozenset({max(ALL)})
"""The same core if there is only one: it still works, but everything competes."""


@contextlib.contextmanager
def started_on(cores: frozenset[int]) -> Iterator[None]:
    """Run the block on `cores`: a process that is started in it inherits them from its first step.

    Needs no code between fork and exec, and leaves no moment in which the process, or a child of
    it, runs elsewhere.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Policy(IntEnum):
    """How a process shares its core, see sched(7)."""

    NORMAL = os.SCHED_OTHER
    FIRST = os.SCHED_FIFO
    """Runs as soon as it can; NORMAL, if that is not allowed (it needs root)."""
    BATCH = os.SCHED_BATCH
    """Runs when its turn comes; to be woken interrupts nobody."""
    IDLE = os.SCHED_IDLE
    """Runs when nobody else wants to."""

    def apply(self) -> None:
        """Give this process the policy."""
        priority = 1 if self is Policy.FIRST else 0
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, self, os.sched_param(priority))


PROMPT = Policy.FIRST if BALANCER != LOAD else Policy.NORMAL
"""For a small load that is to be answered at once. Never before a balancer on the same core, and
never for much work: the kernel's own work on that core would have to wait for it."""


@contextlib.contextmanager
def kept_awake() -> Iterator[bool]:
    """Keep idle cores from sleeping during the block, if allowed; yields whether that worked.

    It needs root, and it is what tuned's profile "latency-performance" does.
    """
    try:
        device = os.open("/dev/cpu_dma_latency", os.O_WRONLY)
    except OSError:
        yield False
        return
    try:
        os.write(device, bytes(4))  # zero microseconds, for as long as it is open
        yield True
    finally:
        os.close(device)

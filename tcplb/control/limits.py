"""How many connections and workers there can be."""

from __future__ import annotations

import logging
import os
import resource

RESERVED_DESCRIPTORS = 32
"""For the standard streams, logs, the event loop, listeners, name look-ups and late trials."""

DESCRIPTORS_PER_SESSION = 2
_MOST = 1_000_000

log = logging.getLogger("tcplb.limits")


def connection_limit(wanted: int | None) -> int:
    """Return `max_connections`; `wanted` is what was configured, None for "auto".

    The soft limit of open files is first raised to the hard one, as HAProxy does. A number that
    does not fit even so is lowered, with a warning: past it, clients would be dropped.
    """
    descriptors = _raise_descriptor_limit()
    fitting = max(1, (descriptors - RESERVED_DESCRIPTORS) // DESCRIPTORS_PER_SESSION)
    if wanted is None:
        return min(fitting, _MOST)
    if wanted <= fitting:
        return wanted
    log.warning(
        "max_connections = %d needs %d file descriptors, but the limit is %d (ulimit -Hn): "
        "lowered to %d",
        wanted,
        wanted * DESCRIPTORS_PER_SESSION + RESERVED_DESCRIPTORS,
        descriptors,
        fitting,
    )
    return fitting


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worker_slots(workers: int) -> int:
    """Return how many workers there can ever be if `workers` are there at the start.

    There has to be room for more of them, and for those that still drain.
    """
    return 2 * max(workers, processors()) + 8


def _raise_descriptor_limit() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError) as error:  # macOS refuses "unlimited"
            log.debug("the limit of open files stays at %d: %s", soft, error)
    if soft == resource.RLIM_INFINITY:
        return _MOST * DESCRIPTORS_PER_SESSION + RESERVED_DESCRIPTORS
    return soft

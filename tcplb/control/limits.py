"""How many connections fit into the limit of file descriptors."""

from __future__ import annotations

import logging
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

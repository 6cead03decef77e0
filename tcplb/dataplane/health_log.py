"""Says in the log what has changed in what is thought of a backend."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from tcplb.policy.transition import Checked, State, Transition

_LEVELS: Mapping[object, int] = {
    State.EJECTED: logging.WARNING,
    State.ON_TRIAL: logging.DEBUG,
    Checked.DOWN: logging.WARNING,
}

log = logging.getLogger("tcplb.health")


def log_transition(pool: str, transition: Transition) -> None:
    """Log a change in the pool of that name; a trial's begin only at debug."""
    level = _LEVELS.get(transition.state, logging.INFO)
    log.log(level, "pool %s: %s", pool, transition)

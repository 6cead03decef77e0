"""What is thought of the backends at the moment, as far as the supervisor has been told."""

from __future__ import annotations

import time
from collections.abc import Iterable

from tcplb.control.events import Events
from tcplb.control.messages import Verdict
from tcplb.control.plan import Plan
from tcplb.policy.transition import Checked, Mode, State, Transition

_AS_AT_START = (State.IN, Checked.UP)


class Verdicts:
    """The verdicts that a new worker has to know, and the events of how they came about."""

    def __init__(self, plan: Plan, events: Events) -> None:
        self._events = events
        self._in_force: dict[tuple[str, str, type], Verdict] = {}
        """The last verdict on each backend that is not as at the start, by who reached it."""
        self._told = 0
        self._positions = {
            (pool.name, backend.name): plan.first_position(pool) + index
            for pool in plan.pools
            for index, backend in enumerate(pool.backends)
        }

    def in_force(self) -> Iterable[Verdict]:
        """Return what a new worker has to be told."""
        return tuple(self._in_force.values())

    def ejected(self, pool: str, backend: str) -> Transition | None:
        """Return the ejection that a backend is in, if it is."""
        verdict = self._in_force.get((pool, backend, State))
        return None if verdict is None else verdict.transition

    def note(self, verdict: Verdict) -> None:
        """Keep a verdict, and tell the scoreboard."""
        pool, transition = verdict.pool, verdict.transition
        about = (pool, transition.backend, type(transition.state))
        if transition.state in _AS_AT_START:
            self._in_force.pop(about, None)
        elif isinstance(transition.state, Mode) or transition.state is not State.ON_TRIAL:
            self._in_force[about] = verdict
        position = self._positions.get((pool, transition.backend), -1)
        self._told += 1
        self._events.add(self._told, time.time(), position, f"pool {pool}: {transition}")

"""What is thought of the backends at the moment, as far as the supervisor has been told."""

from __future__ import annotations

import time
from collections.abc import Iterable

from tcplb.control.events import Events
from tcplb.control.messages import Verdict
from tcplb.policy.transition import Checked, Mode, State, Transition

_AS_AT_START = (State.IN, Checked.UP)


class Verdicts:
    """The verdicts that a new worker has to know, and the events of how they came about."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._in_force: dict[tuple[str, str, type], Verdict] = {}
        """The last verdict on each backend that is not as at the start, by who reached it."""
        self._on_trial: set[tuple[str, str]] = set()
        self._ejections: dict[tuple[str, str], int] = {}
        self._since: dict[tuple[str, str], float] = {}

    def in_force(self) -> Iterable[Verdict]:
        """Return what a new worker has to be told."""
        return tuple(self._in_force.values())

    def ejected(self, pool: str, backend: str) -> Transition | None:
        """Return the ejection that a backend is in, if it is."""
        verdict = self._in_force.get((pool, backend, State))
        return None if verdict is None else verdict.transition

    def down(self, pool: str, backend: str) -> Transition | None:
        """Return why checks say that a backend is down, if they do."""
        verdict = self._in_force.get((pool, backend, Checked))
        return None if verdict is None else verdict.transition

    def on_trial(self, pool: str, backend: str) -> bool:
        """Whether a connection is out that finds out if the backend is back."""
        return (pool, backend) in self._on_trial

    def since(self, pool: str, backend: str) -> float | None:
        """Return when what is thought of a backend last changed, in seconds since the epoch."""
        return self._since.get((pool, backend))

    def ejections(self, pool: str, backend: str) -> int:
        """Return how often a backend was ejected since it was configured."""
        return self._ejections.get((pool, backend), 0)

    def note(self, verdict: Verdict) -> None:
        """Keep a verdict, and tell the events."""
        pool, transition = verdict.pool, verdict.transition
        backend = pool, transition.backend
        about = (*backend, type(transition.state))
        self._count(backend, transition)
        if transition.state in _AS_AT_START:
            self._in_force.pop(about, None)
        elif isinstance(transition.state, Mode) or transition.state is not State.ON_TRIAL:
            self._in_force[about] = verdict
        self._since[backend] = time.time()
        text = f"pool {pool}: {transition}"
        self._events.add("health", text, pool=pool, backend=transition.backend)

    def _count(self, backend: tuple[str, str], transition: Transition) -> None:
        """Count an ejection, but once if several workers have found it before they heard of it."""
        was_used = self.ejected(*backend) is None or backend in self._on_trial
        if transition.state is State.EJECTED and was_used:
            self._ejections[backend] = self._ejections.get(backend, 0) + 1
        if transition.state is State.ON_TRIAL:
            self._on_trial.add(backend)
        elif isinstance(transition.state, State):
            self._on_trial.discard(backend)

    def forget(self, pool: str, backend: str) -> None:
        """Forget a backend: it is gone, or another one has its name."""
        for kind in (Mode, Checked, State):
            self._in_force.pop((pool, backend, kind), None)
        self._on_trial.discard((pool, backend))
        self._ejections.pop((pool, backend), None)
        self._since.pop((pool, backend), None)

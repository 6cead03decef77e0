"""A pool chooses a backend and counts it, in one synchronous step.

The strategy orders; the pool filters by health and by what the session has tried. Choosing and
counting have no `await` between them, so a burst of clients cannot all choose the same backend
before the first one is counted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random

from tcplb.policy.backend import Backend
from tcplb.policy.health import EjectPolicy, FailureTracker, State, Transition
from tcplb.policy.names import HashKey
from tcplb.policy.outcome import Outcome
from tcplb.policy.strategy import Strategy


@dataclass(slots=True, eq=False)
class Lease:
    """A backend chosen and counted for one dial. Give it back with `Pool.release`."""

    backend: Backend
    trial: bool
    """This connection finds out whether an ejected backend has come back."""
    acquired_at: float


class Pool:
    """Some backends, the strategy that orders them, and what is known of their health."""

    def __init__(
        self,
        name: str,
        backends: Sequence[Backend],
        strategy: Strategy,
        *,
        rng: Random,
        hash_key: HashKey = HashKey.AUTO,
        eject: EjectPolicy | None = None,
    ) -> None:
        self.name = name
        self.backends = tuple(backends)
        self.strategy = strategy
        self.hash_key = hash_key
        self._rng = rng
        self._health = {
            backend.name: FailureTracker(backend.name, eject or EjectPolicy())
            for backend in backends
        }
        self._active = {backend.name: 0 for backend in backends}
        self.active_total = 0

    def acquire(self, key: bytes, *, now: float, exclude: Collection[str] = ()) -> Lease | None:
        """Choose the first usable backend in the order of `key`, and count it.

        `exclude` holds the names that this session has tried. When health lets none of the others
        through, nobody's verdict is trusted and the first of them is used all the same: it may
        have come back, and the client has nothing to lose. None means there is none left.
        """
        distrusted: Backend | None = None
        for backend in self.strategy.order(key):
            if backend.name in exclude:
                continue
            if self._health[backend.name].admits(now):
                return self._lease(backend, now)
            if distrusted is None:
                distrusted = backend
        return self._lease(distrusted, now) if distrusted else None

    def observe(self, lease: Lease, outcome: Outcome, *, now: float) -> Transition | None:
        """Tell health how the dial of `lease` ended; return the change that this caused, if any."""
        return self._health[lease.backend.name].observe(
            outcome,
            started_at=lease.acquired_at,
            now=now,
            trial=lease.trial,
            may_eject=self._another_is_in(lease.backend),
            rng=self._rng,
        )

    def release(self, lease: Lease) -> None:
        """Give `lease` back: its connection is over, or never came about."""
        self._active[lease.backend.name] -= 1
        self.active_total -= 1

    def active(self, backend: Backend) -> int:
        """Return the number of leases out on `backend`."""
        return self._active[backend.name]

    def state(self, backend: Backend) -> State:
        """Return what passive health says of `backend`."""
        return self._health[backend.name].state

    def _lease(self, backend: Backend, now: float) -> Lease:
        tracker = self._health[backend.name]
        trial = tracker.trial_due(now)
        if trial:
            tracker.begin_trial()
        self._active[backend.name] += 1
        self.active_total += 1
        return Lease(backend, trial, now)

    def _another_is_in(self, backend: Backend) -> bool:
        return any(
            self._health[other.name].state is State.IN
            for other in self.backends
            if other.weight > 0 and other.name != backend.name
        )

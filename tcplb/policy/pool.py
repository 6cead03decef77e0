"""A pool chooses a backend and counts it, in one synchronous step.

The strategy orders; the pool filters by health, by limits and by what the session has tried.
Choosing and counting have no `await` between them, so a burst of clients cannot all choose the
same backend before the first one is counted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random

from tcplb.policy.backend import Backend
from tcplb.policy.health import EjectPolicy, FailureTracker, State, Transition
from tcplb.policy.names import HashKey
from tcplb.policy.occupancy import LocalOccupancy, Occupancy
from tcplb.policy.outcome import Outcome
from tcplb.policy.strategy import Strategy

_CONNECTED = Outcome.CONNECTED  # in Python 3.11, reading a member off its enum takes 120 ns


@dataclass(slots=True, eq=False)
class Lease:
    """A backend chosen and counted for one dial. Give it back with `Pool.release`."""

    backend: Backend
    trial: bool
    """This connection finds out whether an ejected backend has come back."""
    acquired_at: float
    position: int
    """The backend's position in its pool, by which it is counted."""
    tracker: FailureTracker
    """The backend's health. Like `position`, here so that nobody has to look it up again."""


class Pool:
    """Some backends, the strategy that orders them, and what is known of their health.

    `occupancy` counts the leases; without it, this process counts for itself. A strategy that
    goes by these counts has to be made with the same one.
    """

    def __init__(
        self,
        name: str,
        backends: Sequence[Backend],
        strategy: Strategy,
        *,
        rng: Random,
        hash_key: HashKey = HashKey.AUTO,
        eject: EjectPolicy | None = None,
        occupancy: Occupancy | None = None,
    ) -> None:
        self.name = name
        self.backends = tuple(backends)
        self.strategy = strategy
        self.hash_key = hash_key
        self.active_total = 0
        """Leases that this process has out; `occupancy` may count those of others too."""
        self._rng = rng
        self._occupancy = LocalOccupancy(len(backends)) if occupancy is None else occupancy
        eject = eject or EjectPolicy()
        self._places = {
            backend.name: (position, FailureTracker(backend.name, eject))
            for position, backend in enumerate(backends)
        }

    def acquire(self, key: bytes, *, now: float, exclude: Collection[str] = ()) -> Lease | None:
        """Choose the first usable backend in the order of `key`, and count it.

        `exclude` holds the names that this session has tried. A backend at its `max_connections`
        is passed by, whatever else is true. When health lets none of the others through, nobody's
        verdict is trusted and the first of them is used all the same: it may have come back, and
        the client has nothing to lose. None means there is none left, or `full` ones only.
        """
        distrusted: list[Backend] = []
        for backend in self.strategy.order(key):
            if backend.name in exclude:
                continue
            if not self._places[backend.name][1].admits(now):
                distrusted.append(backend)
            elif lease := self._enter(backend, now):
                return lease
        for backend in distrusted:
            if lease := self._enter(backend, now):
                return lease
        return None

    def full(self, exclude: Collection[str] = ()) -> bool:
        """Whether it was for want of room that `acquire` gave None for this same `exclude`.

        If so, every backend of positive weight that `exclude` leaves is at its `max_connections`;
        if not, there is no such backend.
        """
        # It does not ask the occupancy: room may have been made since, in another process.
        return any(backend.weight > 0 and backend.name not in exclude for backend in self.backends)

    def observe(self, lease: Lease, outcome: Outcome, *, now: float) -> Transition | None:
        """Tell health how the dial of `lease` ended; return the change that this caused, if any."""
        if outcome is _CONNECTED:  # nearly always: it needs none of the rest
            return lease.tracker.succeed(now)
        return lease.tracker.observe(
            outcome,
            started_at=lease.acquired_at,
            now=now,
            trial=lease.trial,
            may_eject=self._another_is_in(lease.backend),
            rng=self._rng,
        )

    def trial_begun(self, lease: Lease, *, until: float) -> Transition:
        """Return the news that the trial of `lease` is out, for the other processes.

        `until` is when its dial ends at the latest.
        """
        return Transition(
            lease.backend.name,
            State.ON_TRIAL,
            "is on trial: one connect finds out whether it is back",
            until=until,
            at=lease.acquired_at,
        )

    def learn(self, news: Transition, *, now: float) -> bool:
        """Take over a verdict that another process has reached; return whether it was news here.

        The last usable backend of this pool stays in, as when its own dials fail: of two
        backends, two processes may each have ejected the other one in the same instant.
        """
        place = self._places.get(news.backend)
        if place is None:
            return False
        position, tracker = place
        return tracker.learn(news, now=now, may_eject=self._another_is_in(self.backends[position]))

    def release(self, lease: Lease) -> None:
        """Give `lease` back: its connection is over, or never came about."""
        self._occupancy.leave(lease.position)
        self.active_total -= 1

    def active(self, backend: Backend) -> int:
        """Return the number of leases out on `backend`, in all processes that share them."""
        return self._occupancy.active(self._places[backend.name][0])

    def state(self, backend: Backend) -> State:
        """Return what passive health says of `backend`."""
        return self._places[backend.name][1].state

    def _enter(self, backend: Backend, now: float) -> Lease | None:
        position, tracker = self._places[backend.name]
        if not self._occupancy.try_enter(position, backend.max_connections):
            return None
        self.active_total += 1
        trial = tracker.trial_due(now)
        if trial:
            tracker.begin_trial()
        return Lease(backend, trial, now, position, tracker)

    def _another_is_in(self, backend: Backend) -> bool:
        return any(
            self.state(other) is State.IN
            for other in self.backends
            if other.weight > 0 and other.name != backend.name
        )

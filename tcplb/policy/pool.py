"""A pool chooses a backend and counts it, in one synchronous step.

The strategy orders; the pool filters by health, by limits and by what the session has tried.
Choosing and counting have no `await` between them, so a burst of clients cannot all choose the
same backend before the first one is counted.

What a pick goes through, and each step is used only if the one before gave nothing::

    for each tier, the lowest first:
        usable ones, those whose trial is due, and in panic all that are enabled
        1. those with room, neither coming back nor over the bound of load
        2. those with room
        some were there, but all full:  no lease: the session may wait
    nobody's verdict is trusted: all that are enabled, with room
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from random import Random

from xxhash import xxh64_intdigest

from tcplb.policy.backend import Backend
from tcplb.policy.bounded_load import slots
from tcplb.policy.health import Health
from tcplb.policy.lease import Lease
from tcplb.policy.occupancy import LocalOccupancy, Occupancy
from tcplb.policy.outcome import Outcome
from tcplb.policy.roster import Roster
from tcplb.policy.rules import PoolRules
from tcplb.policy.slow_start import share_after
from tcplb.policy.strategy import StrategyMaker
from tcplb.policy.tier import Place, Tier
from tcplb.policy.transition import Mode, State, Transition

_CONNECTED = Outcome.CONNECTED  # in Python 3.11, reading a member off its enum takes 120 ns
_IN = State.IN
_RETURN_SEED = 0x5EED
"""Apart from the seeds that place keys: which keys come back first is to be independent of them."""


@dataclass(slots=True)
class _Wish:
    """What a session wants of a pool."""

    key: bytes
    now: float
    exclude: Collection[str]
    distrusted: list[Place] = field(default_factory=list)
    """Those that health speaks against, in the order in which they were met."""


class Pool:
    """Some backends, the strategy that orders them, and what is known of their health.

    `make` makes the strategy of each tier. `occupancy` counts the leases; without it, this process
    counts for itself.
    """

    def __init__(
        self,
        name: str,
        backends: Sequence[Backend],
        make: StrategyMaker,
        *,
        rng: Random,
        rules: PoolRules | None = None,
        occupancy: Occupancy | None = None,
        modes: Mapping[str, Mode] | None = None,
        positions: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.active_total = 0
        """Leases that this process has out; `occupancy` may count those of others too."""
        self.rules = rules or PoolRules()
        self.tiers: tuple[Tier, ...] = ()
        self._rng = rng
        self._occupancy = LocalOccupancy(len(backends)) if occupancy is None else occupancy
        self._places: dict[str, Place] = {}
        self._coming_back: set[Place] = set()
        self._take_over(Roster(tuple(backends), make, modes or {}, positions))

    # -- membership ---------------------------------------------------------------------------

    def update(self, roster: Roster, rules: PoolRules, *, now: float) -> None:
        """Be another pool from now on, with as much as possible of what is known of the old one.

        A backend that keeps its name and address keeps its health and its counts, and its leases
        stay good. One that is gone gets nothing any more; its leases can be given back as ever.
        """
        before = self._places
        self.rules = rules
        self._take_over(roster, self._roster)
        for name, place in before.items():
            if self._places.get(name) is not place:
                place.retire()
                self._coming_back.discard(place)
        for backend in roster.backends:
            place = self._places[backend.name]
            place.health.tracker.follow(rules.eject)
            place.health.mode = roster.mode(backend)
            if before.get(backend.name) is not place:
                place.usable = False  # it begins slowly, like one that comes back
            self._note(place, now)
        for tier in self.tiers:
            tier.count()
        self._grow(now)

    def _take_over(self, roster: Roster, old: Roster | None = None) -> None:
        places = roster.places(self._places, self.rules.eject)
        self._occupancy.cover(place.position for place in places.values())
        before, self.tiers = self.tiers, roster.tiers(places, self._occupancy, old, self.tiers)
        for tier in before:
            if tier not in self.tiers:
                tier.dissolve()
        self._places = places
        self._roster = roster
        self.backends = roster.backends
        self.keyed = any(tier.strategy.keyed for tier in self.tiers)
        """Whether it matters which key `acquire` is given."""
        self.measures = any(hasattr(tier.strategy, "observe") for tier in self.tiers)
        """Whether the strategy wants to know latencies: `observe_latency`."""
        self._bounded = self.keyed and self.rules.hash_balance_factor > 0

    # -- choose and count ---------------------------------------------------------------------

    def acquire(self, key: bytes, *, now: float, exclude: Collection[str] = ()) -> Lease | None:
        """Choose the first usable backend in the order of `key`, and count it.

        `exclude` holds the names that this session has tried. A backend at its `max_connections`
        is passed by, whatever else is true. When health lets none of the others through, nobody's
        verdict is trusted and the first of them is used all the same: it may have come back, and
        the client has nothing to lose. None means there is none left, or `full` ones only.
        """
        if exclude or self._bounded or self._coming_back or not self.tiers:
            return self._search(_Wish(key, now, exclude))
        # Nearly always the first backend of the first tier suits. All that follows finds it too,
        # but costs half as much again (docs/performance.md).
        order = self.tiers[0].strategy.order(key, now)
        backend = next(order, None)
        if backend is None:
            return self._search(_Wish(key, now, exclude))
        place = self._places[backend.name]
        if place.usable and self._occupancy.try_enter(place.position, backend.max_connections):
            self.active_total += 1
            return Lease(backend, False, now, place.position, place)
        return self._search(_Wish(key, now, exclude), chain((backend,), order))

    def _search(self, wish: _Wish, begun: Iterable[Backend] | None = None) -> Lease | None:
        """Go through all tiers; `begun` is the order of the first one, if there is one already."""
        if self._coming_back:
            self._grow(wish.now)
        for tier in self.tiers:
            lease, full = self._pick(tier, begun or tier.strategy.order(wish.key, wish.now), wish)
            if lease is not None:
                return lease
            if full:
                return None
            begun = None
        return self._enter_first(wish.distrusted, wish.now)

    def _pick(self, tier: Tier, order: Iterable[Backend], wish: _Wish) -> tuple[Lease | None, bool]:
        """Return the first lease in `order`; without one, whether that is for want of room."""
        key, now, exclude = wish.key, wish.now, wish.exclude
        places, panics = self._places, tier.panics(self.rules.panic_threshold)
        choosy = self._bounded or bool(self._coming_back)
        held_back: list[Place] = []
        full = False
        for backend in order:
            place = places[backend.name]
            if exclude and backend.name in exclude:
                continue
            if not (place.usable or place.admits(now, panics=panics)):
                if place.health.enabled:
                    wish.distrusted.append(place)
                continue
            if choosy and self._holds_back(place, key):
                held_back.append(place)
            elif lease := self._enter(place, now):
                return lease, False
            else:
                full = True
        return self._enter_first(held_back, now), full or bool(held_back)

    def _enter_first(self, places: Sequence[Place], now: float) -> Lease | None:
        for place in places:
            if lease := self._enter(place, now):
                return lease
        return None

    def _enter(self, place: Place, now: float) -> Lease | None:
        backend = place.backend
        if not self._occupancy.try_enter(place.position, backend.max_connections):
            return None
        self.active_total += 1
        trial = not place.usable and place.health.trial_due(now)
        if trial:
            place.health.tracker.begin_trial()
        return Lease(backend, trial, now, place.position, place)

    def acquire_freed(
        self, freed: Lease, *, now: float, exclude: Collection[str] = ()
    ) -> Lease | None:
        """Choose the backend on which `freed` has just made room, for a session that waits.

        When all were full it is the only one with room, so its place in the order does not matter.
        But while a lower tier is only full, nobody goes to a higher one.
        """
        place = freed.place
        if place.backend.name in exclude or not place.health.admits(now):
            return None
        for tier in self.tiers:
            if tier is place.tier:
                break
            if tier.admits(now, exclude):
                return None
        return self._enter(place, now)

    def release(self, lease: Lease) -> None:
        """Give `lease` back: its connection is over, or never came about."""
        self._occupancy.leave(lease.position)
        self.active_total -= 1

    def full(self, exclude: Collection[str] = ()) -> bool:
        """Whether it was for want of room that `acquire` gave None for this same `exclude`.

        If so, each usable backend that `exclude` leaves is at its `max_connections`, or each
        enabled one if none is usable; if not, there is no such backend.
        """
        # It does not ask the occupancy: room may have been made since, in another process.
        return any(
            place.backend.weight > 0 and place.health.enabled and name not in exclude
            for name, place in self._places.items()
        )

    # -- holding back -------------------------------------------------------------------------

    def _holds_back(self, place: Place, key: bytes) -> bool:
        """Whether others are to be preferred, as far as there are any with room."""
        if place.share < 1 and not place.tier.strategy.by_load and self._withholds(place, key):
            return True
        return self._bounded and self.saturated(place.backend)

    def _withholds(self, place: Place, key: bytes) -> bool:
        """Whether a backend that is coming back leaves this connection to others.

        Strategies by load have its lower weight in their counts. For the others, a part of the
        connections passes it by: of a keyed strategy always the same keys, so each key moves back
        once and stays.
        """
        if not place.tier.strategy.keyed:
            return self._rng.random() >= place.share
        return xxh64_intdigest(key, _RETURN_SEED) >= place.share * 2.0**64

    def saturated(self, backend: Backend) -> bool:
        """Whether `backend` has as many connections as the bound of load gives it."""
        factor, place = self.rules.hash_balance_factor, self._places[backend.name]
        if not factor:
            return False
        connections, total_weight = self._occupancy.total() + 1, place.tier.usable_weight
        bound = slots(connections, factor, backend.weight, total_weight, place.before)
        return self._occupancy.active(place.position) >= bound

    def _grow(self, now: float) -> None:
        """Set the shares of the backends that are coming back to what they are by now."""
        for place in tuple(self._coming_back):
            share = share_after(now - place.since, self.rules.slow_start)
            place.tier.set_share(place, share)
            if share >= 1 or not place.usable:
                self._coming_back.discard(place)

    # -- health -------------------------------------------------------------------------------

    def observe(self, lease: Lease, outcome: Outcome, *, now: float) -> Transition | None:
        """Tell health how the dial of `lease` ended; return the change that this caused, if any."""
        place, tracker = lease.place, lease.place.health.tracker
        if outcome is _CONNECTED:  # nearly always: it needs none of the rest
            unproven = self.rules.eject.first_byte
            if unproven and tracker.state is _IN:
                return None  # `observe_first_byte` or `observe_no_answer` will tell
            return self._changed(place, tracker.succeed(now, proven=not unproven), now)
        transition = tracker.observe(
            outcome,
            started_at=lease.acquired_at,
            now=now,
            trial=lease.trial,
            may_eject=self._may_eject(place),
            rng=self._rng,
        )
        return self._changed(place, transition, now)

    def observe_first_byte(self, lease: Lease, *, now: float) -> Transition | None:
        """Tell health that the backend of `lease` has sent something: it works."""
        return self._changed(lease.place, lease.place.health.tracker.succeed(now), now)

    def observe_no_answer(self, lease: Lease, *, now: float) -> Transition | None:
        """Tell health that the backend of `lease` ended its connection before its first byte."""
        place = lease.place
        transition = place.health.tracker.observe(
            Outcome.NO_ANSWER,
            started_at=now,
            now=now,
            trial=False,
            may_eject=self._may_eject(place),
            rng=self._rng,
        )
        return self._changed(place, transition, now)

    def observe_latency(self, lease: Lease, seconds: float, *, now: float) -> None:
        """Tell the strategy how long the backend took to connect and to send its first byte."""
        observe = getattr(lease.place.tier.strategy, "observe", None)
        if observe is not None:
            observe(lease.backend, seconds, now)

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
        """Take over what was found elsewhere; return whether it was news here.

        It comes from another process, from active checks or from the operator. The last usable
        backend of this pool stays in, as when its own dials fail: of two backends, two processes
        may each have ejected the other one in the same instant.
        """
        place = self._places.get(news.backend)
        if place is None:
            return False
        learnt = place.health.learn(news, now=now, may_eject=self._may_eject(place))
        self._update(place, now)
        return learnt

    def _changed(
        self, place: Place, transition: Transition | None, now: float
    ) -> Transition | None:
        if transition is None or self._places.get(place.backend.name) is not place:
            return None  # nothing has changed, or nobody asks for that backend any more
        self._update(place, now)
        return transition

    def _update(self, place: Place, now: float) -> None:
        """Take note of a change in a backend's health."""
        self._note(place, now)
        place.tier.count()
        if self._coming_back:
            self._grow(now)

    def _note(self, place: Place, now: float) -> None:
        usable = place.health.usable
        came_back = usable and not place.usable
        place.usable = usable
        if came_back and self.rules.slow_start:
            place.since = now
            self._coming_back.add(place)

    def _may_eject(self, place: Place) -> bool:
        """Whether one more may be ejected: never the last usable one, and not too many at once.

        Source: Envoy's ``max_ejection_percent``; one may always be.
        """
        weighted = [other for other in self._places.values() if other.backend.weight > 0]
        if not any(other.usable for other in weighted if other is not place):
            return False
        ejected = sum(
            other.health.tracker.state is not _IN for other in weighted if other is not place
        )
        most = len(weighted) * self.rules.eject.max_ejected_percent // 100
        return ejected < max(1, most)

    # -- look ---------------------------------------------------------------------------------

    def active(self, backend: Backend) -> int:
        """Return the number of leases out on `backend`, in all processes that share them."""
        return self._occupancy.active(self._places[backend.name].position)

    def active_beside(self, lease: Lease) -> int:
        """Return the same of the backend of `lease`, which need not be in this pool any more."""
        return self._occupancy.active(lease.position)

    def state(self, backend: Backend) -> State:
        """Return what passive health says of `backend`."""
        return self._places[backend.name].health.tracker.state

    def health(self, backend: Backend) -> Health:
        """Return all that is thought of `backend`."""
        return self._places[backend.name].health

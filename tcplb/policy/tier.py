"""A pool's backends by priority: those of one tier share a strategy."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tcplb.policy.backend import Backend
from tcplb.policy.health import Health
from tcplb.policy.load import Load
from tcplb.policy.strategy import Strategy
from tcplb.policy.transition import Mode


class Place:
    """A backend's place in its pool: where it is counted, and what is known of it."""

    __slots__ = (
        "backend",
        "before",
        "health",
        "index",
        "position",
        "share",
        "since",
        "tier",
        "usable",
    )

    tier: Tier

    def __init__(self, backend: Backend, position: int, health: Health) -> None:
        self.backend = backend
        self.health = health
        self.position = position
        """Where the pool's occupancy counts it."""
        self.index = 0
        """Where its tier's `Load` has it."""
        self.usable = health.usable
        """Whether nothing speaks against it: a copy, because every pick asks."""
        self.before = 0
        """The weight of the usable ones of its tier that come before it in the config."""
        self.share = 1.0
        """The part of its weight that is in force; less than 1 while it is coming back."""
        self.since = 0.0
        """When it began to come back."""

    def admits(self, now: float, *, panics: bool) -> bool:
        """Whether health lets a connection through; in a panic, verdicts do not count."""
        return self.health.enabled if panics else self.health.admits(now)

    def retire(self) -> None:
        """See to it that nobody is sent there any more, by whatever reference is left."""
        self.health.mode = Mode.DISABLED
        self.usable = False


class Tier:
    """The backends of one priority, in the order of the config."""

    __slots__ = ("load", "number", "places", "size", "strategy", "usable", "usable_weight")

    def __init__(
        self, number: int, places: Sequence[Place], load: Load, strategy: Strategy
    ) -> None:
        """Take in `places`, which are in the order of `load` and belong to this tier from now."""
        self.number = number
        self.places = tuple(places)
        self.load = load
        self.strategy = strategy
        self.size = 0
        """How many the operator wants used; those of weight 0 are none."""
        self.usable = 0
        """How many of them nothing speaks against."""
        self.usable_weight = 0
        for index, place in enumerate(places):
            place.tier, place.index = self, index
            self.set_share(place, place.share)
        self.count()

    def count(self) -> None:
        """Count anew; O(n), when something has changed."""
        weighted = [place for place in self.places if place.backend.weight > 0]
        self.size = sum(place.health.enabled for place in weighted)
        self.usable = self.usable_weight = 0
        for place in weighted:
            place.before = self.usable_weight
            if place.usable:
                self.usable += 1
                self.usable_weight += place.backend.weight

    def dissolve(self) -> None:
        """Let go of the places: others have taken over. It would be a cycle, left to the gc."""
        self.places = ()

    def admits(self, now: float, exclude: Collection[str]) -> bool:
        """Whether health lets any through that `exclude` leaves, be it full or not; O(n)."""
        return any(
            place.backend.weight > 0
            and place.backend.name not in exclude
            and place.health.admits(now)
            for place in self.places
        )

    def panics(self, threshold: int) -> bool:
        """Whether some are usable, but less than `threshold` percent: the verdicts look wrong."""
        return 0 < self.usable * 100 < threshold * self.size

    def set_share(self, place: Place, share: float) -> None:
        """Let only this part of a backend's weight be in force."""
        place.share = share
        self.load.weights[place.index] = place.backend.weight * share

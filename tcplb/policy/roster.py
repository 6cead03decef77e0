"""Who is in a pool, and what becomes of places and tiers when that changes.

A place is kept as long as its backend has the same name and address: its health, its counts and the
leases out on it go on. A tier is kept as long as its backends and the strategy's kind are the same,
so nothing that a strategy knows is lost by a change elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tcplb.policy.backend import Backend
from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.health import Health
from tcplb.policy.load import Load
from tcplb.policy.occupancy import Occupancy
from tcplb.policy.strategy import Strategy, StrategyMaker
from tcplb.policy.tier import Place, Tier
from tcplb.policy.transition import Mode


@dataclass(frozen=True, slots=True)
class Roster:
    """The backends of a pool, in the order of the config, and what makes their strategies."""

    backends: tuple[Backend, ...]
    make: StrategyMaker
    modes: Mapping[str, Mode] = field(default_factory=dict)
    """What the operator says of each; one that is not named is enabled."""
    positions: Sequence[int] = ()
    """Where each is counted; 0, 1, 2 … if not given."""

    def mode(self, backend: Backend) -> Mode:
        """Return what the operator says of `backend`."""
        return self.modes.get(backend.name, Mode.ENABLED)

    def tier_members(self) -> dict[int, list[Backend]]:
        """Return the backends of each tier, the lowest first."""
        numbers = sorted({backend.tier for backend in self.backends})
        return {number: self._members(number) for number in numbers}

    def places(self, old: Mapping[str, Place], eject: EjectPolicy) -> dict[str, Place]:
        """Return the place of each backend: the `old` one if it is the same, or a new one.

        Nothing is changed in the old ones.
        """
        positions = self.positions or range(len(self.backends))
        return {
            backend.name: _same(old.get(backend.name), backend)
            or Place(backend, position, Health(backend.name, eject, self.mode(backend)))
            for backend, position in zip(self.backends, positions, strict=True)
        }

    def tiers(
        self,
        places: Mapping[str, Place],
        occupancy: Occupancy,
        old: Roster | None = None,
        old_tiers: Sequence[Tier] = (),
    ) -> tuple[Tier, ...]:
        """Return the tiers of `places`, the lowest first; of `old_tiers` those that stay the same.

        The places belong to the new tiers from now on, and have the backends of this roster.
        """
        kept = {tier.number: tier for tier in old_tiers} if old and old.make == self.make else {}
        members = self.tier_members()
        made = {
            number: _make(self.make, members[number], places, occupancy)
            for number in members
            if number not in kept or not _is_of(kept[number], members[number], places)
        }
        for number, (_, strategy) in made.items():
            _pass_on(_strategy_of(number, old_tiers), strategy)
        for backend in self.backends:
            places[backend.name].backend = backend
        return tuple(
            Tier(number, [places[each.name] for each in members[number]], *made[number])
            if number in made
            else kept[number]
            for number in members
        )

    def _members(self, tier: int) -> list[Backend]:
        return [backend for backend in self.backends if backend.tier == tier]


def _same(place: Place | None, backend: Backend) -> Place | None:
    """Return `place` if it is that of `backend`, whatever its weight and limits are now."""
    if place is None:
        return None
    known = place.backend
    return place if (known.host, known.port) == (backend.host, backend.port) else None


def _is_of(tier: Tier, backends: Sequence[Backend], places: Mapping[str, Place]) -> bool:
    if tier.places != tuple(places[backend.name] for backend in backends):
        return False
    return [place.backend for place in tier.places] == list(backends)


def _make(
    make: StrategyMaker,
    backends: Sequence[Backend],
    places: Mapping[str, Place],
    occupancy: Occupancy,
) -> tuple[Load, Strategy]:
    load = Load(backends, occupancy, [places[backend.name].position for backend in backends])
    return load, make(backends, load)


def _strategy_of(number: int, tiers: Sequence[Tier]) -> Strategy | None:
    return next((tier.strategy for tier in tiers if tier.number == number), None)


def _pass_on(old: Strategy | None, new: Strategy) -> None:
    """Let a strategy keep what its predecessor has learnt, if they are of one kind."""
    inherit = getattr(new, "inherit", None)
    if inherit is not None and type(old) is type(new):
        inherit(old)

"""Why a connection goes where it goes: what `Pool.acquire` does, with a reason for each backend.

It asks the pool what `acquire` asks, in the same order, and counts nothing; so what it says is
what the next `acquire` of the same key does. But to ask a strategy that takes turns is to take
one: explain with a pool that nobody else uses.

A pool in which a backend is coming back (`slow_start`) is not covered, because by then chance may
have a say.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from xxhash import xxh64_hexdigest

from tcplb.policy.addresses import client_key, destination_key
from tcplb.policy.backend import Backend
from tcplb.policy.classify import RequestTarget, classify
from tcplb.policy.names import HashKey, KeyRule
from tcplb.policy.pool import Pool
from tcplb.policy.tier import Place, Tier

# -- which key --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of a connection when its backend is to be chosen."""

    client: str
    """The client's address, without its port."""
    first_line: bytes | None = None
    """The first line that it sends, without its line end; None if it sends none."""
    destination: tuple[str, int] | None = None
    """The address that it has connected to, if that is known."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a keyed strategy places."""

    value: bytes
    source: str
    """Where it comes from, in words."""

    @property
    def hash(self) -> str:
        """Its xxh64 in hexadecimal, with the seed 0: that by which a ring or a table places it."""
        return xxh64_hexdigest(self.value)


def key_of(rule: KeyRule, arrival: Arrival) -> Key:
    """Return the key of a connection, as `dataplane.find_key` finds it.

    Raises ValueError if the key is the destination and that is not known.
    """
    match rule.key:
        case HashKey.DESTINATION:
            if arrival.destination is None:
                raise ValueError("the destination is not known")
            return Key(destination_key(*arrival.destination), "the destination")
        case HashKey.AUTO | HashKey.REQUEST:
            return _request_key(rule, arrival)
        case HashKey.FIRST_LINE:
            if arrival.first_line is not None:
                return Key(arrival.first_line, "the first line")
            return _client_key(rule, arrival, ", because no first line is given")
        case HashKey.CLIENT:
            return _client_key(rule, arrival, "")


def _request_key(rule: KeyRule, arrival: Arrival) -> Key:
    if arrival.first_line is None:
        return _client_key(rule, arrival, ", because no request is given")
    verdict = classify(arrival.first_line + b"\r\n")
    if isinstance(verdict, RequestTarget):
        return Key(verdict.target, "the target of the request line")
    return _client_key(rule, arrival, ", because the first line is not HTTP/1")


def _client_key(rule: KeyRule, arrival: Arrival, why: str) -> Key:
    value = client_key(arrival.client, rule.prefix, rule.prefix_v6)
    what = "network" if b"/" in value else "address"
    return Key(value, f"the client's {what}{why}")


# -- which backend ----------------------------------------------------------------------------


class Verdict(StrEnum):
    """What became of a candidate, or would have."""

    CHOSEN = "chosen"
    NEXT = "not needed"
    """It comes after the one that is chosen, and could have been."""
    WEIGHT_0 = "weight 0"
    DRAINING = "draining"
    DISABLED = "disabled"
    DOWN = "down"
    EJECTED = "ejected"
    ON_TRIAL = "on trial"
    TRIED = "tried"
    OVER_BOUND = "over the bound of load"
    FULL = "full"
    NOT_REACHED = "tier not reached"


_DISTRUSTED = (Verdict.DOWN, Verdict.EJECTED, Verdict.ON_TRIAL)


class Stage(StrEnum):
    """By which of the steps in `Pool` there is a backend, or why there is none."""

    ORDER = "the first that is usable in its order"
    OVER_BOUND = "all with room are over the bound of load: the first of them"
    PANIC = "too few are usable: the verdicts are not trusted"
    LAST_RESORT = "none is usable: the first that is enabled, all the same"
    FULL = "all that could be used are full"
    NONE = "none is left"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend, where it stands in the order of its tier, and what became of it."""

    backend: Backend
    rank: int
    """From 1; 0 if it is not in the order at all, because of its weight."""
    verdict: Verdict
    active: int
    """Connections that it has."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a choice comes about."""

    candidates: tuple[Candidate, ...]
    """All backends of the pool: by tier, and there by their order."""
    chosen: Backend | None
    stage: Stage
    trial: bool = False
    """Whether this connection would find out if its backend is back."""


def explain_choice(
    pool: Pool, key: bytes, *, now: float, exclude: Collection[str] = ()
) -> Explanation:
    """Return what `pool.acquire` does with the same arguments, and why."""
    candidates: list[Candidate] = []
    found: tuple[Place, Stage] | None = None
    full = False
    for tier in pool.tiers:
        walk = _Walk(pool, tier, key, now, exclude)
        if found is not None or full:
            candidates += walk.as_not_reached()
            continue
        found = walk.choose()
        candidates += walk.candidates
        full = walk.full
    if found is None and not full:
        found = _last_resort(pool, candidates)
    if found is None:
        return Explanation(
            tuple(candidates), None, Stage.FULL if pool.full(exclude) else Stage.NONE
        )
    place, stage = found
    trial = not place.usable and place.health.trial_due(now)
    return Explanation(_marked(candidates, place.backend), place.backend, stage, trial)


def _last_resort(pool: Pool, candidates: Sequence[Candidate]) -> tuple[Place, Stage] | None:
    """Return the first that only a verdict speaks against, and that has room."""
    places = {place.backend.name: place for tier in pool.tiers for place in tier.places}
    for candidate in candidates:
        if candidate.verdict in _DISTRUSTED and has_room(pool, candidate.backend):
            return places[candidate.backend.name], Stage.LAST_RESORT
    return None


def _marked(candidates: Sequence[Candidate], chosen: Backend) -> tuple[Candidate, ...]:
    return tuple(
        replace(candidate, verdict=Verdict.CHOSEN) if candidate.backend is chosen else candidate
        for candidate in candidates
    )


class _Walk:
    """One tier, as `Pool` goes through it."""

    def __init__(
        self, pool: Pool, tier: Tier, key: bytes, now: float, exclude: Collection[str]
    ) -> None:
        self._pool = pool
        self._tier = tier
        self._key = key
        self._now = now
        self._exclude = exclude
        self._panics = tier.panics(pool.rules.panic_threshold)
        self._places = {place.backend.name: place for place in tier.places}
        self.candidates: list[Candidate] = []
        self.full = False
        """Whether some were there, but all full."""

    def choose(self) -> tuple[Place, Stage] | None:
        """Go through the order; return whom `acquire` takes."""
        self._list()
        first = self._first(Verdict.NEXT)
        if first is not None:
            place = self._places[first.backend.name]
            admitted = place.usable or place.health.admits(self._now)
            return place, Stage.ORDER if admitted else Stage.PANIC
        held_back = [
            self._places[candidate.backend.name]
            for candidate in self.candidates
            if candidate.verdict is Verdict.OVER_BOUND
        ]
        for place in held_back:
            if has_room(self._pool, place.backend):
                return place, Stage.OVER_BOUND
        self.full = bool(held_back) or self._first(Verdict.FULL) is not None
        return None

    def as_not_reached(self) -> list[Candidate]:
        """Return the tier's candidates when a lower one has decided."""
        self._list()
        return [
            candidate
            if candidate.verdict is Verdict.WEIGHT_0
            else replace(candidate, verdict=Verdict.NOT_REACHED)
            for candidate in self.candidates
        ]

    def _list(self) -> None:
        order = self._tier.strategy.order(self._key, self._now)
        for rank, backend in enumerate(order, 1):
            self._add(backend, rank, self._judge(self._places[backend.name]))
        # What a strategy leaves out has no weight; that is all that an order may leave out.
        ranked = {candidate.backend.name for candidate in self.candidates}
        for name, place in self._places.items():
            if name not in ranked:
                self._add(place.backend, 0, Verdict.WEIGHT_0)

    def _add(self, backend: Backend, rank: int, verdict: Verdict) -> None:
        active = self._pool.active(backend)
        self.candidates.append(Candidate(backend, rank, verdict, active))

    def _judge(self, place: Place) -> Verdict:
        pool, backend = self._pool, place.backend
        if backend.name in self._exclude:
            return Verdict.TRIED
        objection = None if place.usable else place.health.objection(self._now)
        if objection is not None and not (self._panics and place.health.enabled):
            return Verdict(objection)
        if pool.keyed and pool.saturated(backend):
            return Verdict.OVER_BOUND
        return Verdict.NEXT if has_room(pool, backend) else Verdict.FULL

    def _first(self, verdict: Verdict) -> Candidate | None:
        return next((one for one in self.candidates if one.verdict is verdict), None)


def has_room(pool: Pool, backend: Backend) -> bool:
    """Whether `backend` has fewer connections than its `max_connections`."""
    return not 0 < backend.max_connections <= pool.active(backend)

"""What a change of a pool does to its keys: how many move, and from whom to whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt

from tcplb.policy.pool import Pool

NOWHERE = None
"""Stands for the backend of a key when there is none that would take it."""

_Z = 1.96
"""Standard deviations to both sides that hold 95 % of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Where the same keys are before a change and after it."""

    keys: int
    """How many were looked at."""
    flows: Mapping[tuple[str | None, str | None], int]
    """Keys by (before, after), also of those that stay."""

    @property
    def before(self) -> Mapping[str | None, int]:
        """Keys by the backend that has them before."""
        return _sums((source, keys) for (source, _), keys in self.flows.items())

    @property
    def after(self) -> Mapping[str | None, int]:
        """Keys by the backend that has them after."""
        return _sums((target, keys) for (_, target), keys in self.flows.items())

    @property
    def moves(self) -> Mapping[tuple[str | None, str | None], int]:
        """The flows between different backends, the largest first."""
        moves = {pair: keys for pair, keys in self.flows.items() if pair[0] != pair[1]}
        return dict(sorted(moves.items(), key=lambda move: -move[1]))

    @property
    def moved(self) -> int:
        """How many keys have another backend after than before."""
        return sum(self.moves.values())

    @property
    def least(self) -> int:
        """How many have to move at least: each backend gives away what it has too much.

        It is the distance in total variation between the two spreads: no placement gets from the
        one to the other with less.
        """
        after = self.after
        return sum(max(0, keys - after.get(name, 0)) for name, keys in self.before.items())

    def error(self, share: float) -> float:
        """Return how far a share of the keys looked at may be from that of all keys.

        Either way, with a confidence of 95 %: 1.96 × √(p (1 - p) / n), the normal approximation,
        with one key more on each side, so that 0 of 1,000 is not taken for certain.
        """
        if not self.keys:
            return 1.0
        share = (share * self.keys + 1) / (self.keys + 2)
        return _Z * sqrt(share * (1 - share) / self.keys)


def _sums(pairs: Iterable[tuple[str | None, int]]) -> Mapping[str | None, int]:
    sums: Counter[str | None] = Counter()
    for name, keys in pairs:
        sums[name] += keys
    return sums


def compare(before: Pool, after: Pool, keys: Iterable[bytes]) -> Comparison:
    """Place each of `keys` in both pools, which nobody else uses."""
    flows = Counter((place(before, key), place(after, key)) for key in keys)
    return Comparison(sum(flows.values()), flows)


def place(pool: Pool, key: bytes) -> str | None:
    """Return the name of the backend that `key` has while nothing is open; None for no backend."""
    lease = pool.acquire(key, now=0.0)
    if lease is None:
        return NOWHERE
    pool.release(lease)
    return lease.backend.name


def synthetic_keys(number: int) -> Iterable[bytes]:
    """Return `number` keys that look like request targets, always the same ones."""
    return (b"/key/%d" % index for index in range(number))


def weight_shares(pool: Pool) -> Mapping[str, float]:
    """Return each backend's share of the weight in force, by name; 0 for those that get nothing.

    In force is the weight of the usable backends of the first tier that has any.
    """
    shares = {backend.name: 0.0 for backend in pool.backends}
    tier = next((tier for tier in pool.tiers if tier.usable_weight), None)
    if tier is None:
        return shares
    for place in tier.places:
        if place.usable:
            shares[place.backend.name] = place.backend.weight / tier.usable_weight
    return shares

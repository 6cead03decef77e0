"""Peak EWMA: of two draws, the backend that will probably answer sooner.

Source: Finagle's ``Balancers.p2cPeakEwma`` (Marius Eriksen, Twitter, 2013), which Linkerd took
over. A backend's latency is an exponentially weighted moving average over time, except that a
higher one replaces it at once: to be slow costs traffic immediately, to be fast again has to be
shown. Cost = latency × (connections + 1) / weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import exp
from random import Random

from tcplb.policy.backend import Backend
from tcplb.policy.load import Load, shares_by_weight
from tcplb.policy.weighted_random import Draws

DECAY = 10.0
"""Seconds after which a latency still counts for 1/e, 37 %."""
_LONGEST = 3600.0
"""More seconds than this are taken for this many: a latency has to stay finite."""


class PeakEwma:
    """Yields the cheaper of two different draws by weight, in O(log n), and then the rest.

    A latency fades while it is not measured anew, so a backend that was slow is tried again. But a
    backend that is chosen is taken at its last measured latency from then on, until the next
    measure: so one connection tries it, not everybody's, and one that gives no answer at all gets
    little.

    A backend that has never been measured comes before all others while nothing is open on it;
    else it counts as no slower than the one it is compared with.
    """

    keyed = False
    by_load = True

    def __init__(
        self, backends: Sequence[Backend], load: Load, rng: Random, decay: float = DECAY
    ) -> None:
        """Let latencies fade to 37 % in `decay` seconds. Raises ValueError unless it is above 0."""
        if not decay > 0:
            raise ValueError(f"latencies must fade in more than 0 s, not in {decay:g} s")
        self._backends = tuple(backends)
        self._counts = load.counts
        self._weights = load.weights
        self._draws = Draws([backend.weight for backend in backends], rng)
        self._decay = decay
        self._indexes = {backend.name: index for index, backend in enumerate(backends)}
        self._latencies: list[float | None] = [None] * len(backends)
        self._measured_at = [0.0] * len(backends)
        self._fades_from = [0.0] * len(backends)

    def inherit(self, old: PeakEwma) -> None:
        """Take over what `old` knows of the backends that both have."""
        for name, index in self._indexes.items():
            old_index = old._indexes.get(name)
            if old_index is not None:
                self._latencies[index] = old._latencies[old_index]
                self._measured_at[index] = old._measured_at[old_index]
                self._fades_from[index] = old._fades_from[old_index]

    def observe(self, backend: Backend, seconds: float, now: float) -> None:
        """Take note that `backend` took `seconds` to connect and send its first byte."""
        index = self._indexes.get(backend.name)
        if index is None:
            return  # it was there when its connection began
        seconds = min(max(0.0, seconds), _LONGEST)  # NaN is 0 by this
        latency = self._latencies[index]
        if latency is not None and seconds < latency:
            old = self._share_left(self._measured_at[index], now)
            seconds = latency * old + seconds * (1 - old)
        self._latencies[index] = seconds
        self._measured_at[index] = max(now, self._measured_at[index])
        self._fades_from[index] = max(now, self._fades_from[index])

    def order(self, key: bytes = b"", now: float = 0.0) -> Iterator[Backend]:
        """Yield each backend once; `now` is on the clock of `observe`."""
        if len(self._draws.indexes) < 2:
            for index in self._draws.indexes:
                yield self._backends[index]
            return
        fades_from = self._fades_from
        drawn = self._draws.two()
        first, left = self._compare(*drawn, now)
        before = fades_from[first]
        if now > before:
            fades_from[first] = now
        yield self._backends[first]  # nearly always the only one that is asked for
        fades_from[first] = before  # it was not taken
        for index in self._rest(drawn, left, now):
            before = fades_from[index]
            fades_from[index] = max(now, before)
            yield self._backends[index]
            fades_from[index] = before

    def shares(self) -> Mapping[str, float]:
        """Return weight / total weight by name: what they get if all are equally fast and busy."""
        return shares_by_weight(self._backends)

    def latency(self, backend: Backend, now: float) -> float | None:
        """Return the seconds that `backend` is thought to take; None if it was never measured."""
        return self._latency(self._indexes[backend.name], now)

    def _latency(self, index: int, now: float) -> float | None:
        latency = self._latencies[index]
        fading = now - self._fades_from[index]
        if not latency or fading <= 0:
            return latency
        return latency * exp(-fading / self._decay)

    def _share_left(self, since: float, now: float) -> float:
        # A clock that has gone back has not moved, as far as this is concerned.
        return exp(-max(0.0, now - since) / self._decay)

    def _rest(self, drawn: tuple[int, int], left: int, now: float) -> Iterator[int]:
        """Yield all but the winner of the two `drawn`, of which `left` is the other one."""
        # Each further draw competes with the one that was left over.
        for index in self._draws.others(drawn):
            better, left = self._compare(left, index, now)
            yield better
        yield left

    def _compare(self, one: int, other: int, now: float) -> tuple[int, int]:
        """Return both, the cheaper one first; of two alike, `one`."""
        latency, other_latency = self._latencies[one], self._latencies[other]
        if latency is None or other_latency is None:
            return self._compare_unmeasured(one, other, now)
        # As in `_latency`, without two calls: it is most of what a pick costs.
        fades_from, decay = self._fades_from, self._decay
        if now > fades_from[one]:
            latency *= exp((fades_from[one] - now) / decay)
        if now > fades_from[other]:
            other_latency *= exp((fades_from[other] - now) / decay)
        counts, weights = self._counts, self._weights
        cost = latency * (counts[one]() + 1) / weights[one]
        other_cost = other_latency * (counts[other]() + 1) / weights[other]
        if cost == other_cost:
            cost, other_cost = counts[one]() / weights[one], counts[other]() / weights[other]
        return (one, other) if cost <= other_cost else (other, one)

    def _compare_unmeasured(self, one: int, other: int, now: float) -> tuple[int, int]:
        latency, other_latency = self._latency(one, now), self._latency(other, now)
        cost = self._cost(one, latency, other_latency)
        other_cost = self._cost(other, other_latency, latency)
        return (one, other) if cost <= other_cost else (other, one)

    def _cost(self, index: int, latency: float | None, other: float | None) -> tuple[float, float]:
        """Return latency × (connections + 1) / weight, and what decides if that is even."""
        connections, weight = self._counts[index](), self._weights[index]
        if latency is None:
            latency = (1.0 if other is None else other) if connections else 0.0
        return latency * (connections + 1) / weight, connections / weight

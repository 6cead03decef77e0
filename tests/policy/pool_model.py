"""What a pool is to think of its backends, said once more and as simply as can be.

Nothing here is fast or shared with the pool: states are recomputed, events are kept in lists.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import ceil, inf

from tcplb.policy.backend import Backend
from tcplb.policy.ejection import LEARNT_GRACE, EjectPolicy
from tcplb.policy.lease import Lease
from tcplb.policy.outcome import Outcome
from tcplb.policy.rules import PoolRules
from tcplb.policy.transition import Checked, Mode, State


@dataclass(eq=False)
class Known:
    """One backend: the three axes, and what passive health has seen."""

    backend: Backend
    mode: Mode = Mode.ENABLED
    checked: Checked = Checked.UP
    state: State = State.IN
    due: float = inf
    """When its trial may begin, if it is not in."""
    trial: Lease | None = None
    row: int = 0
    ejections: int = 0
    last_success: float = -inf
    back_at: float = -inf
    connects: list[tuple[float, bool]] = field(default_factory=list)
    """When each ended, and whether it failed."""
    since: float = -inf
    """When it became usable again."""
    out: list[Lease] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        return self.enabled and self.checked is Checked.UP and self.state is State.IN

    @property
    def enabled(self) -> bool:
        return self.mode is Mode.ENABLED

    @property
    def weight(self) -> int:
        return self.backend.weight

    @property
    def has_room(self) -> bool:
        limit = self.backend.max_connections
        return limit == 0 or len(self.out) < limit

    def admitted(self, now: float) -> bool:
        up = self.enabled and self.checked is Checked.UP
        return up and (self.state is State.IN or self.due <= now)

    def share(self, now: float, window: float) -> float:
        if window == 0 or now - self.since >= window:
            return 1.0
        return max(0.1, (now - self.since) / window)


class Model:
    """All backends of a pool. Its methods return the state that a change has led to, if any."""

    def __init__(self, backends: Sequence[Backend], rules: PoolRules) -> None:
        self.rules = rules
        self.eject: EjectPolicy = rules.eject
        self.known = {backend.name: Known(backend) for backend in backends}
        self.now = 0.0

    def weighted(self) -> list[Known]:
        return [known for known in self.known.values() if known.weight > 0]

    def total(self) -> int:
        return sum(len(known.out) for known in self.known.values())

    # -- who may be chosen --------------------------------------------------------------------

    def candidates(self, exclude: Collection[str]) -> list[Known]:
        """Return whom a connection may go to: those of one tier, whether they have room or not."""
        for tier in sorted({known.backend.tier for known in self.known.values()}):
            found = [one for one in self.of_tier(tier) if one.backend.name not in exclude]
            panics = self.panics(tier)
            found = [one for one in found if one.admitted(self.now) or (panics and one.enabled)]
            if found:
                return found
        return [one for one in self.weighted() if one.enabled and one.backend.name not in exclude]

    def of_tier(self, tier: int) -> list[Known]:
        return [one for one in self.weighted() if one.backend.tier == tier]

    def panics(self, tier: int) -> bool:
        wanted = [one for one in self.of_tier(tier) if one.enabled]
        usable = [one for one in wanted if one.usable]
        return bool(usable) and len(usable) / len(wanted) * 100 < self.rules.panic_threshold

    def slots(self, known: Known) -> float:
        """Return how many connections the bound of load gives a backend, not rounded."""
        weight = sum(one.weight for one in self.of_tier(known.backend.tier) if one.usable)
        total = ceil((self.total() + 1) * self.rules.hash_balance_factor / 100)
        return max(1.0, total * known.weight / max(1, weight))

    # -- what happens -------------------------------------------------------------------------

    def leased(self, lease: Lease) -> None:
        known = self.known[lease.backend.name]
        known.out.append(lease)
        if lease.trial:
            known.state, known.due, known.trial = State.ON_TRIAL, inf, lease

    def released(self, lease: Lease) -> None:
        self.known[lease.backend.name].out.remove(lease)

    def dial_ended(self, lease: Lease, outcome: Outcome) -> State | None:
        known = self.known[lease.backend.name]
        if outcome is Outcome.CONNECTED:
            if self.eject.first_byte and known.state is State.IN:
                return None
            return self.succeeded(known, proven=not self.eject.first_byte)
        if lease is known.trial:
            known.trial = None
            if outcome.blames_backend:
                return self._ejected(known)
            known.state, known.due = State.EJECTED, self.now
            return None
        if outcome.blames_backend and known.state is State.IN:
            return self.failed(known, lease.acquired_at)
        return None

    def succeeded(self, known: Known, *, proven: bool = True) -> State | None:
        known.row, known.last_success = 0, self.now
        known.connects.append((self.now, False))
        return State.IN if self.returned(known, proven=proven) else None

    def returned(self, known: Known, *, proven: bool = True) -> bool:
        """Note that it is in; return whether that is new. If it is proven, ejections begin anew."""
        known.last_success = self.now
        if proven:
            known.ejections = 0
        if known.state is State.IN:
            return False
        was_usable = known.usable
        known.state, known.due, known.trial = State.IN, inf, None
        known.back_at = self.now
        self.note_return(known, was_usable=was_usable)
        return True

    def failed(self, known: Known, began: float) -> State | None:
        if began < known.back_at:
            return None
        fresh = began >= known.last_success
        if not fresh and not self.eject.failure_rate:
            return None
        known.row += fresh
        known.connects.append((self.now, True))
        if not self.may_eject(known):
            return None
        in_a_row = 0 < self.eject.failures <= known.row
        return self._ejected(known) if in_a_row or self._too_many(known) else None

    def ejected_elsewhere(self, known: Known, until: float, ejections: int) -> bool:
        if known.state is State.IN and not self.may_eject(known):
            return False
        self._out(known, until + LEARNT_GRACE, ejections)
        return True

    def may_eject(self, known: Known) -> bool:
        others = [one for one in self.weighted() if one is not known]
        out = [one for one in others if one.state is not State.IN]
        most = int(len(self.weighted()) * self.eject.max_ejected_percent / 100)
        return any(one.usable for one in others) and len(out) + 1 <= max(1, most)

    def note_return(self, known: Known, *, was_usable: bool) -> None:
        if known.usable and not was_usable:
            known.since = self.now

    def _ejected(self, known: Known) -> State:
        n = known.ejections + 1
        seconds = min(self.eject.base_time + (n - 1) * self.eject.step, self.eject.max_time)
        self._out(known, self.now + seconds, n)
        return State.EJECTED

    def _out(self, known: Known, due: float, ejections: int) -> None:
        known.state, known.due, known.ejections = State.EJECTED, due, ejections
        known.trial, known.row = None, 0
        known.connects.clear()

    def _too_many(self, known: Known) -> bool:
        policy = self.eject
        if not policy.failure_rate:
            return False
        part = policy.window / 10
        recent = [failed for at, failed in known.connects if self.now // part - at // part <= 9]
        return len(recent) >= policy.min_connects and sum(recent) >= policy.failure_rate * len(
            recent
        )

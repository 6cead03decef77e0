"""What came of a replay: figures to compare strategies by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from tcplb.control.plan import PoolPlan
from tcplb.control.rehearsal import rehearsal_pool
from tcplb.control.replay.log import Arrival
from tcplb.control.replay.simulation import Simulation
from tcplb.policy.placement import weight_shares


@dataclass(frozen=True, slots=True)
class BackendLoad:
    """What one backend had to do."""

    name: str
    weight_share: float
    """Its part of the weight in force, 0 to 1."""
    connections: int
    share: float
    """Its part of the connections."""
    peak: int
    """The most that were open at once."""
    mean_active: float
    """How many were open at a time, on average over the whole replay."""


@dataclass(frozen=True, slots=True)
class Waits:
    """The waiting line. Times are seconds."""

    waited: int
    """How many had to wait, with or without success."""
    mean: float
    p99: float
    longest: float
    timed_out: int
    refused: int


@dataclass(frozen=True, slots=True)
class Moves:
    """How many keys have another backend than in the log."""

    keys: int
    """Those that a backend has had in both."""
    moved: int


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one strategy."""

    strategy: str
    connections: int
    """Those that came; with those turned away."""
    seconds: float
    """From the first one's arrival to the last one's end."""
    backends: tuple[BackendLoad, ...]
    waits: Waits
    without_backend: int
    moves: Moves | None
    """None for a strategy that places no keys."""
    complaints: int
    """How often a strategy of the user's own has failed."""
    complaint: str
    """Why, the first time."""

    @property
    def imbalance(self) -> float | None:
        """The connections of the busiest backend for its weight, over the mean; None for none."""
        return imbalance((load.connections, load.weight_share) for load in self.backends)

    @property
    def active_imbalance(self) -> float | None:
        """The same of the connections open at a time."""
        return imbalance((load.mean_active, load.weight_share) for load in self.backends)


def imbalance(loads: Iterable[tuple[float, float]]) -> float | None:
    """Return max/mean of (load, share of the weight) pairs, load being taken by weight.

    With equal weights it is the plain one. Backends without a share do not count; None if nobody
    has any load.
    """
    shared = [(load, share) for load, share in loads if share > 0]
    total = sum(load for load, _ in shared)
    return max(load / (total * share) for load, share in shared) if total else None


def replay(plan: PoolPlan, arrivals: Sequence[Arrival], *, seed: int = 0) -> Result:
    """Let `arrivals`, in the order of time, go through the pool of `plan`. Raises StrategyError."""
    complaints: list[str] = []
    pool = rehearsal_pool(plan, seed=seed, failed=complaints.append)
    simulation = Simulation(pool, arrivals[0].at if arrivals else 0.0)
    simulation.run(arrivals)
    return Result(
        strategy=plan.strategy.name,
        connections=len(arrivals),
        seconds=simulation.ended_at,
        backends=_loads(simulation),
        waits=_waits(simulation),
        without_backend=simulation.without_backend,
        moves=_moves(simulation, arrivals) if pool.keyed else None,
        complaints=len(complaints),
        complaint=complaints[0] if complaints else "",
    )


def _loads(simulation: Simulation) -> tuple[BackendLoad, ...]:
    shares = weight_shares(simulation.pool)
    served = sum(simulation.connections)
    return tuple(
        BackendLoad(
            name=backend.name,
            weight_share=shares[backend.name],
            connections=simulation.connections[position],
            share=simulation.connections[position] / served if served else 0.0,
            peak=simulation.peaks[position],
            mean_active=_ratio(simulation.busy[position], simulation.ended_at),
        )
        for position, backend in enumerate(simulation.pool.backends)
    )


def _ratio(value: float, whole: float) -> float:
    return value / whole if whole else 0.0


def _waits(simulation: Simulation) -> Waits:
    waits = sorted(simulation.waits)
    return Waits(
        waited=len(waits),
        mean=_ratio(sum(waits), len(waits)),
        p99=waits[ceil(0.99 * len(waits)) - 1] if waits else 0.0,
        longest=waits[-1] if waits else 0.0,
        timed_out=simulation.timed_out,
        refused=simulation.refused,
    )


def _moves(simulation: Simulation, arrivals: Sequence[Arrival]) -> Moves:
    names = [backend.name for backend in simulation.pool.backends]
    logged = Counter((one.key, one.backend) for one in arrivals if one.backend is not None)
    before = most_frequent(logged)
    after = most_frequent(
        {(key, names[position]): times for (key, position), times in simulation.placed.items()}
    )
    both = before.keys() & after.keys()
    return Moves(len(both), sum(before[key] != after[key] for key in both))


def most_frequent(times: Mapping[tuple[bytes, str], int]) -> Mapping[bytes, str]:
    """Return the backend that each key has most often; of several, the first by name."""
    best: dict[bytes, tuple[int, str]] = {}
    for (key, name), number in times.items():
        rank = (-number, name)
        if key not in best or rank < best[key]:
            best[key] = rank
    return {key: name for key, (_, name) in best.items()}

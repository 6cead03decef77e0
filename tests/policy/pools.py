"""Pools of any rules, and what others than clients say to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from random import Random
from typing import Any

from tcplb.policy.backend import Backend
from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.names import StrategyName
from tcplb.policy.pool import Pool
from tcplb.policy.rules import PoolRules
from tcplb.policy.transition import Checked, Mode, State, Transition
from tests.policy.backends import maker

STEADY = EjectPolicy(jitter=0, max_ejected_percent=100)


def pool_of(
    backends: Sequence[Backend],
    strategy: StrategyName = StrategyName.ROUND_ROBIN,
    *,
    modes: Mapping[str, Mode] | None = None,
    **rules: Any,
) -> Pool:
    return Pool(
        "web",
        backends,
        maker(strategy),
        rng=Random(1),
        rules=PoolRules(**({"eject": STEADY} | rules)),
        modes=modes,
    )


def backend(name: str, *, tier: int = 0, limit: int = 0, weight: int = 1) -> Backend:
    return Backend(name, "127.0.0.1", 8081, weight, limit, tier)


def tell(pool: Pool, name: str, state: Mode | Checked | State, now: float = 0.0) -> bool:
    """Let the pool learn what the operator, the checks or another process say."""
    return pool.learn(Transition(name, state, "x", until=now + 5.0, at=now), now=now)


def tell_all(
    pool: Pool, names: Iterable[str], state: Mode | Checked | State, now: float = 0.0
) -> None:
    for name in names:
        tell(pool, name, state, now)


def taken(
    pool: Pool, sessions: int, now: float = 0.0, exclude: Collection[str] = ()
) -> Counter[str]:
    """Count who gets connections that follow each other, each of a key of its own."""
    counted: Counter[str] = Counter()
    for number in range(sessions):
        lease = pool.acquire(b"/%d" % number, now=now, exclude=exclude)
        if lease is None:
            break
        counted[lease.backend.name] += 1
        pool.release(lease)
    return counted


def held(
    pool: Pool, sessions: int, now: float = 0.0, exclude: Collection[str] = ()
) -> Counter[str]:
    """Count who gets connections that all stay open; stop when there is no lease."""
    counted: Counter[str] = Counter()
    for number in range(sessions):
        lease = pool.acquire(b"/%d" % number, now=now, exclude=exclude)
        if lease is None:
            break
        counted[lease.backend.name] += 1
    return counted

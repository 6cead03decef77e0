"""What a choice costs with many backends, in this process.

Once the strategy's alone, the first backend of its order, and once with all that a pool does around
it: `acquire` and `release`. No connection is open meanwhile.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from random import Random

from bench import cores
from bench.results import Results
from bench.scenarios import PICK
from bench.settings import Settings
from tcplb.policy.backend import Backend
from tcplb.policy.names import StrategyName
from tcplb.policy.peak_ewma import PeakEwma
from tcplb.policy.pool import Pool
from tcplb.policy.strategy import MakeStrategy, Strategy

_KEYS = [f"203.0.113.{client % 256}:{client}".encode() for client in range(1000)]


def compare_picks(settings: Settings, results: Results, say: Callable[[str], None]) -> None:
    """Measure every strategy that there is, interleaved."""
    pools = {strategy: _pool(strategy, settings.pool_size) for strategy in StrategyName}
    for number in range(settings.rounds):
        say(f"{PICK.name} {number + 1}/{settings.rounds}")
        for strategy, pool in pools.items():
            with cores.started_on(cores.BALANCER):
                whole = _seconds_of_pool(pool, settings.picks)
                order = _seconds_of_order(pool.tiers[0].strategy, settings.picks)
            microseconds = 1e6 / settings.picks
            figures = {"order": order * microseconds, "time": whole * microseconds}
            results.add(PICK.name, strategy, figures)


def _pool(strategy: StrategyName, size: int) -> Pool:
    backends = [
        Backend(f"b{number}", f"10.0.{number // 250}.{number % 250 + 1}", 80)
        for number in range(size)
    ]
    rng = Random(1)
    pool = Pool("bench", backends, MakeStrategy(strategy, rng), rng=rng)
    ordering = pool.tiers[0].strategy
    if isinstance(ordering, PeakEwma):
        for number, backend in enumerate(backends):
            ordering.observe(backend, 0.001 + number * 1e-6, time.perf_counter())
    return pool


def _seconds_of_order(strategy: Strategy, picks: int) -> float:
    order = strategy.order
    began = time.perf_counter()
    for key in itertools.islice(itertools.cycle(_KEYS), picks):
        next(order(key, began))
    return time.perf_counter() - began


def _seconds_of_pool(pool: Pool, picks: int) -> float:
    acquire, release = pool.acquire, pool.release
    began = time.perf_counter()
    for key in itertools.islice(itertools.cycle(_KEYS), picks):
        lease = acquire(key, now=began)
        assert lease is not None
        release(lease)
    return time.perf_counter() - began

from __future__ import annotations

from tcplb.config.models import BackendConfig, EjectConfig, ListenerConfig, PoolConfig
from tcplb.control.build import build_pool
from tcplb.control.plan import plan_listener, plan_pool
from tcplb.dataplane.engine import Timeouts
from tcplb.policy.backend import Backend
from tcplb.policy.names import HashKey, KeyRule, StrategyName
from tcplb.policy.occupancy import LocalOccupancy
from tcplb.policy.outcome import Outcome
from tcplb.policy.pool import Pool
from tcplb.policy.ring import HashRing
from tcplb.policy.round_robin import RoundRobin
from tcplb.policy.transition import State

BACKENDS = (
    BackendConfig(name="one", address="10.0.0.1:81", weight=3, max_connections=9),
    BackendConfig(address="[::1]:82"),
    BackendConfig(name="none", address="db.internal:83", weight=0),
)
EJECT = EjectConfig(failures=2, base_time=7.0, step=11.0, max_time=40.0, jitter=0)


def built(config: PoolConfig) -> Pool:
    return build_pool(
        plan_pool("web", config), LocalOccupancy(len(config.backends)), lambda _: None
    )


def pool_of(strategy: StrategyName = StrategyName.ROUND_ROBIN) -> Pool:
    return built(PoolConfig(strategy=strategy, backends=BACKENDS, eject=EJECT))


def fail(pool: Pool, *, now: float) -> list[str]:
    """Let one connect to "one" fail; return what health says to it."""
    others = [backend.name for backend in pool.backends if backend.name != "one"]
    lease = pool.acquire(b"", now=now, exclude=others)
    assert lease is not None
    transition = pool.observe(lease, Outcome.REFUSED, now=now)
    pool.release(lease)
    return [str(transition)] if transition else []


def test_a_pool_has_the_backends_in_their_order() -> None:
    pool = pool_of()
    assert pool.name == "web"
    assert pool.backends == (
        Backend("one", "10.0.0.1", 81, 3, 9),
        Backend("[::1]:82", "::1", 82, 1),
        Backend("none", "db.internal", 83, 0),
    )


def test_the_strategy_is_over_the_same_backends_and_weights() -> None:
    for strategy, kind in ((StrategyName.ROUND_ROBIN, RoundRobin), (StrategyName.HASH, HashRing)):
        pool = pool_of(strategy)
        strategy_of_pool = pool.tiers[0].strategy
        assert isinstance(strategy_of_pool, kind)
        assert {backend.name for backend in strategy_of_pool.order(b"key")} == {"one", "[::1]:82"}
    assert pool_of().tiers[0].strategy.shares() == {"one": 0.75, "[::1]:82": 0.25}


def test_the_hash_key_is_the_one_of_the_settings() -> None:
    for key in HashKey:
        assert built(PoolConfig(backends=BACKENDS, hash_key=key)).rules.key_rule == KeyRule(key)


def test_ejection_follows_the_settings() -> None:
    pool = pool_of()
    one = pool.backends[0]
    assert fail(pool, now=0.0) == []
    assert "ejected for 7" in fail(pool, now=1.0)[0]  # failures, base_time; no jitter
    assert pool.state(one) is State.EJECTED
    assert "ejected for 18" in fail(pool, now=8.0)[0]  # and step
    assert "ejected for 29" in fail(pool, now=26.0)[0]
    assert "ejected for 40" in fail(pool, now=55.0)[0]
    assert "ejected for 40" in fail(pool, now=95.0)[0]  # max_time


def test_two_pools_do_not_draw_the_same_jitter() -> None:
    config = PoolConfig(
        backends=BACKENDS, eject=EjectConfig(failures=1, base_time=1e7, max_time=1e7)
    )
    said = {fail(built(config), now=0.0)[0] for _ in range(20)}
    assert len(said) > 1


def test_the_time_outs_are_those_of_the_listener() -> None:
    config = ListenerConfig(
        connect_timeout=1.0,
        connect_deadline=2.0,
        first_line_timeout=3.0,
        idle_timeout=4.0,
        half_close_timeout=5.0,
    )
    assert plan_listener(config).timeouts == Timeouts(
        connect=1.0, connect_deadline=2.0, first_line=3.0, idle=4.0, half_close=5.0
    )


def test_the_default_time_outs_are_the_same_in_the_settings_and_the_data_plane() -> None:
    assert plan_listener(ListenerConfig()).timeouts == Timeouts()

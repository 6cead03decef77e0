"""A pool that is given other backends, rules or another strategy while it is in use."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.policy.backend import Backend
from tcplb.policy.checks import CheckTracker
from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.lease import Lease
from tcplb.policy.names import StrategyName
from tcplb.policy.outcome import Outcome
from tcplb.policy.pool import Pool
from tcplb.policy.queue import WaitingLine
from tcplb.policy.retry import RetryBudget, RetryPolicy
from tcplb.policy.roster import Roster
from tcplb.policy.rules import PoolRules
from tcplb.policy.strategy import MakeStrategy
from tcplb.policy.transition import Checked, Mode, State, Transition
from tests.policy.backends import NAMES, WEIGHTS, maker

ONCE = PoolRules(eject=EjectPolicy(failures=1, jitter=0.0))
KEYED = [StrategyName.HASH, StrategyName.MAGLEV, StrategyName.RENDEZVOUS]


def server(name: str, port: int = 8081, weight: int = 1, limit: int = 0, tier: int = 0) -> Backend:
    return Backend(name, "127.0.0.1", port, weight, limit, tier)


def abc() -> list[Backend]:
    return [server("a"), server("b"), server("c")]


MAKE = maker(StrategyName.ROUND_ROBIN)


def pool_of(backends: list[Backend], make: MakeStrategy = MAKE, rules: PoolRules = ONCE) -> Pool:
    return Pool("web", backends, make, rng=Random(1), rules=rules)


def update(
    pool: Pool,
    backends: list[Backend],
    make: MakeStrategy = MAKE,
    rules: PoolRules = ONCE,
    *,
    now: float = 1.0,
    **modes: Mode,
) -> None:
    positions = [ord(backend.name[0]) - ord("a") for backend in backends]
    pool.update(Roster(tuple(backends), make, modes, positions), rules, now=now)


def acquire(pool: Pool, now: float = 1.0, key: bytes = b"", exclude: tuple[str, ...] = ()) -> Lease:
    lease = pool.acquire(key, now=now, exclude=exclude)
    assert lease is not None
    return lease


def taken(pool: Pool, times: int = 12, now: float = 1.0) -> set[str]:
    leases = [acquire(pool, now) for _ in range(times)]
    for lease in leases:
        pool.release(lease)
    return {lease.backend.name for lease in leases}


def eject(pool: Pool, name: str, now: float = 1.0) -> Transition:
    others = tuple(each.name for each in pool.backends if each.name != name)
    lease = acquire(pool, now, exclude=others)
    transition = pool.observe(lease, Outcome.REFUSED, now=now)
    pool.release(lease)
    assert transition is not None
    return transition


# -- who is in ----------------------------------------------------------------------------------


def test_one_that_is_added_gets_connections() -> None:
    pool = pool_of(abc())
    update(pool, [*abc(), server("d")])
    assert taken(pool) == {"a", "b", "c", "d"}


def test_one_that_is_removed_gets_none_any_more() -> None:
    pool = pool_of(abc())
    update(pool, abc()[:2])
    assert taken(pool) == {"a", "b"}


def test_a_lease_on_one_that_is_removed_can_be_given_back() -> None:
    pool = pool_of(abc())
    lease = acquire(pool, exclude=("a", "b"))
    update(pool, abc()[:2])
    assert pool.active_total == 1
    pool.release(lease)
    assert pool.active_total == 0
    update(pool, abc())
    assert pool.active(pool.backends[2]) == 0


def test_beside_whom_a_lease_is_can_be_told_when_its_backend_is_gone() -> None:
    pool = pool_of(abc())
    leases = [acquire(pool, exclude=("a", "b")) for _ in range(2)]
    update(pool, abc()[:2])
    assert pool.active_beside(leases[0]) == 2
    pool.release(leases[0])
    assert pool.active_beside(leases[1]) == 1


def test_one_that_comes_back_has_the_connections_that_it_still_had() -> None:
    pool = pool_of(abc())
    acquire(pool, exclude=("a", "b"))
    update(pool, abc()[:2])
    update(pool, abc())
    assert pool.active(pool.backends[2]) == 1


def test_nobody_who_waits_is_given_room_on_one_that_is_removed() -> None:
    pool = pool_of([server("a", limit=1), server("b", limit=1)])
    freed = acquire(pool, exclude=("a",))
    update(pool, [server("a", limit=1)])
    pool.release(freed)
    assert pool.acquire_freed(freed, now=1.0) is None


def test_what_is_found_of_one_that_is_removed_is_no_news() -> None:
    pool = pool_of(abc())
    lease = acquire(pool, exclude=("a", "b"))
    update(pool, abc()[:2])
    assert pool.observe(lease, Outcome.REFUSED, now=1.0) is None
    assert taken(pool) == {"a", "b"}


def test_a_pool_without_backends_has_no_lease_and_is_not_full() -> None:
    pool = pool_of(abc())
    update(pool, [])
    assert pool.acquire(b"", now=1.0) is None
    assert not pool.full()


# -- what stays ---------------------------------------------------------------------------------


def test_counts_and_limits_of_what_stays_go_on() -> None:
    pool = pool_of([server("a", limit=2), server("b")])
    for _ in range(2):
        acquire(pool, exclude=("b",))
    update(pool, [server("c"), server("a", limit=2)])
    assert taken(pool) == {"c"}


def test_another_limit_holds_at_once() -> None:
    pool = pool_of([server("a", limit=1)])
    acquire(pool)
    assert pool.acquire(b"", now=1.0) is None
    update(pool, [server("a", limit=2)])
    acquire(pool)
    assert pool.acquire(b"", now=1.0) is None


def test_an_ejection_goes_on_and_ends_when_it_was_to() -> None:
    pool = pool_of(abc())
    until = eject(pool, "b").until
    update(pool, [server("a", weight=2), server("b", weight=3), server("d")])
    assert pool.state(pool.backends[1]) is State.EJECTED
    assert taken(pool) == {"a", "d"}
    assert acquire(pool, now=until, exclude=("a", "d")).trial


def test_what_checks_say_goes_on() -> None:
    pool = pool_of(abc())
    pool.learn(Transition("b", Checked.DOWN, "is down"), now=1.0)
    update(pool, [*abc(), server("d")])
    assert taken(pool) == {"a", "c", "d"}


def test_failures_in_a_row_are_counted_on() -> None:
    twice = PoolRules(eject=EjectPolicy(failures=2))
    pool = pool_of(abc(), rules=twice)
    lease = acquire(pool, exclude=("a", "c"))
    assert pool.observe(lease, Outcome.REFUSED, now=1.0) is None
    update(pool, [*abc(), server("d")], rules=twice)
    assert pool.observe(lease, Outcome.REFUSED, now=1.0) is not None


def test_a_lease_of_before_tells_of_a_backend_that_stays() -> None:
    pool = pool_of(abc())
    lease = acquire(pool, exclude=("a", "c"))
    update(pool, [server("d"), server("b", weight=2)])
    assert pool.observe(lease, Outcome.REFUSED, now=1.0) is not None
    assert taken(pool) == {"d"}


def test_one_of_the_same_name_at_another_address_is_another_one() -> None:
    pool = pool_of(abc())
    lease = acquire(pool, exclude=("a", "c"))
    eject(pool, "b")
    update(pool, [server("a"), server("b", port=9999)])
    assert taken(pool) == {"a", "b"}
    assert pool.observe(lease, Outcome.REFUSED, now=1.0) is None
    assert {acquire(pool, exclude=("a",)).backend.port for _ in range(3)} == {9999}
    assert pool.active(pool.backends[1]) == 4


def test_a_strategy_goes_on_where_nothing_changes_for_it() -> None:
    pool = pool_of([*abc(), server("d", tier=1)])
    assert acquire(pool).backend.name == "a"
    strategy = pool.tiers[0].strategy
    update(pool, [*abc(), server("d", tier=1), server("e", tier=1)])
    assert pool.tiers[0].strategy is strategy
    assert acquire(pool).backend.name == "b"


@pytest.mark.parametrize(
    "changed",
    [
        [server("a"), server("b", weight=2), server("c")],
        [server("a"), server("b", port=9), server("c")],
        [server("a"), server("b", limit=9), server("c")],
        [server("b"), server("a"), server("c")],
        [server("a"), server("b")],
        [server("a"), server("b"), server("c"), server("d")],
    ],
)
def test_a_strategy_is_made_anew_where_its_backends_change(changed: list[Backend]) -> None:
    pool = pool_of(abc())
    strategy = pool.tiers[0].strategy
    update(pool, changed)
    assert pool.tiers[0].strategy is not strategy
    assert acquire(pool).backend in changed


def test_peak_ewma_keeps_what_it_has_measured() -> None:
    make = MakeStrategy(StrategyName.PEAK_EWMA, Random(1))
    pool = pool_of([server("a"), server("b")], make)
    for name, seconds in [("a", 1.0), ("b", 0.001)]:
        lease = acquire(pool, exclude=("a" if name == "b" else "b",))
        pool.observe_latency(lease, seconds, now=1.0)
        pool.release(lease)
    update(pool, [server("b"), server("a"), server("c", weight=0)], make)
    assert [acquire(pool, now=1.0).backend.name for _ in range(20)] == ["b"] * 20


# -- another strategy, other rules, other modes -------------------------------------------------


def test_another_strategy_takes_over() -> None:
    pool = pool_of(abc())
    update(pool, abc(), maker(StrategyName.HASH))
    assert pool.keyed
    assert len({acquire(pool, key=b"/x").backend.name for _ in range(9)}) == 1


def test_other_rules_hold() -> None:
    pool = pool_of(abc())
    update(pool, abc(), rules=PoolRules(eject=EjectPolicy(failures=0)))
    lease = acquire(pool)
    assert pool.observe(lease, Outcome.REFUSED, now=1.0) is None
    assert pool.rules.eject.failures == 0


def test_a_failure_rate_begins_to_count_and_ends() -> None:
    pool = pool_of(abc(), rules=PoolRules(eject=EjectPolicy(failures=0)))
    rate = EjectPolicy(failures=0, failure_rate=0.5, min_connects=2)
    update(pool, abc(), rules=PoolRules(eject=rate))
    lease = acquire(pool)
    assert pool.observe(lease, Outcome.REFUSED, now=1.0) is None
    wider = replace(rate, window=60.0)
    update(pool, abc(), rules=PoolRules(eject=wider))
    assert pool.observe(lease, Outcome.REFUSED, now=1.0) is None  # what was counted is forgotten
    assert pool.observe(lease, Outcome.REFUSED, now=1.0) is not None


def test_the_operator_drains_and_enables() -> None:
    pool = pool_of(abc())
    update(pool, abc(), b=Mode.DRAINING)
    assert taken(pool) == {"a", "c"}
    update(pool, abc())
    assert taken(pool) == {"a", "b", "c"}


def test_a_change_of_mode_leaves_the_strategy_alone() -> None:
    make = maker(StrategyName.HASH)
    pool = pool_of(abc(), make)
    strategy = pool.tiers[0].strategy
    update(pool, abc(), make, b=Mode.DISABLED)
    assert pool.tiers[0].strategy is strategy


def test_newcomers_and_those_enabled_again_begin_slowly() -> None:
    slowly = PoolRules(slow_start=10.0)
    pool = pool_of(abc(), rules=slowly)
    update(pool, [*abc(), server("d")], rules=slowly, a=Mode.DRAINING)
    assert pool.tiers[0].load.weights == [1.0, 1.0, 1.0, 0.1]
    update(pool, [*abc(), server("d")], rules=slowly, now=6.0)
    assert pool.tiers[0].load.weights == [0.1, 1.0, 1.0, 0.5]
    update(pool, [server("d", weight=4), *abc()], rules=slowly, now=7.0)
    assert pool.tiers[0].load.weights == pytest.approx([2.4, 0.1, 1.0, 1.0])
    update(pool, [server("d", weight=4), *abc()], rules=PoolRules(), now=7.0)
    assert pool.tiers[0].load.weights == [4.0, 1.0, 1.0, 1.0]


def test_tiers_come_and_go() -> None:
    pool = pool_of(abc())
    update(pool, [server("a", tier=1), server("b"), server("c", tier=2)])
    assert taken(pool) == {"b"}
    update(pool, [server("a", tier=1), server("c", tier=2)])
    assert taken(pool) == {"a"}
    update(pool, [server("a"), server("c")])
    assert taken(pool) == {"a", "c"}


# -- what a pool's queue and checks go by ---------------------------------------------------------


def test_a_line_that_gets_shorter_sends_nobody_away() -> None:
    line: WaitingLine[str] = WaitingLine(2)
    assert [line.join("a"), line.join("b"), line.join("c")] == [True, True, False]
    line.resize(1)
    line.leave("a")
    assert not line.join("c")
    line.leave("b")
    assert line.join("c")
    line.resize(2)
    assert line.join("d")
    assert list(line) == ["c", "d"]


def test_another_budget_counts_those_who_are_trying() -> None:
    budget = RetryBudget(RetryPolicy(budget_percent=0, budget_min=1))
    assert [budget.try_begin(100), budget.try_begin(100)] == [True, False]
    budget.follow(RetryPolicy(budget_percent=2, budget_min=0))
    assert [budget.try_begin(100), budget.try_begin(100)] == [True, False]
    budget.follow(RetryPolicy(budget_percent=0, budget_min=0))
    budget.end()
    budget.end()
    assert not budget.try_begin(100)


def test_checks_that_failed_count_by_the_new_numbers() -> None:
    tracker = CheckTracker("a", 3, 2)

    def observe(passed: bool) -> bool:
        return tracker.observe(passed, "so", started_at=1.0, now=1.0) is not None

    assert [observe(False), observe(False)] == [False, False]
    tracker.follow(5, 1)
    assert [observe(False), observe(False), observe(False)] == [False, False, True]
    assert observe(True)


# -- as a whole -----------------------------------------------------------------------------------

ROSTERS = st.lists(
    st.builds(
        server,
        st.sampled_from("abcdef"),
        st.sampled_from([8081, 8082]),
        WEIGHTS,
        tier=st.integers(0, 1),
    ),
    max_size=6,
    unique_by=lambda backend: backend.name,
)


@given(rosters=st.lists(ROSTERS, min_size=2, max_size=5), strategy=st.sampled_from(KEYED))
@settings(max_examples=80)
def test_it_places_keys_as_if_it_had_never_been_another_one(
    rosters: list[list[Backend]], strategy: StrategyName
) -> None:
    pool, make = pool_of(rosters[0], maker(strategy)), maker(strategy)
    for roster in rosters[1:]:
        update(pool, roster, make)
    fresh = pool_of(rosters[-1], make)
    for key in (b"/%d" % number for number in range(20)):
        ours, expected = pool.acquire(key, now=1.0), fresh.acquire(key, now=1.0)
        assert (ours and ours.backend) == (expected and expected.backend)


@given(
    steps=st.lists(st.one_of(ROSTERS, st.booleans()), max_size=30),
    strategy=st.sampled_from(StrategyName),
)
@settings(max_examples=150)
def test_each_lease_is_counted_where_it_is_given_back(
    steps: list[list[Backend] | bool], strategy: StrategyName
) -> None:
    make = maker(strategy)
    pool = pool_of(abc(), make)
    leases: list[Lease] = []
    for step in steps:
        if isinstance(step, list):
            update(pool, step, make)
        elif step:
            lease = pool.acquire(b"/", now=1.0)
            if lease is not None:
                assert lease.backend in pool.backends
                leases.append(lease)
        elif leases:
            pool.release(leases.pop(0))
        assert pool.active_total == len(leases)
        for backend in pool.backends:
            ours = [each for each in leases if each.backend.name == backend.name]
            assert pool.active(backend) == len(ours)


@given(names=st.lists(NAMES, min_size=1, max_size=5, unique=True))
@settings(max_examples=20)
def test_an_update_that_changes_nothing_changes_nothing(names: list[str]) -> None:
    backends = [server(name) for name in names]
    pool = pool_of(backends)
    tiers, health = pool.tiers, [pool.health(backend) for backend in backends]
    pool.update(Roster(tuple(backends), MAKE), ONCE, now=1.0)
    assert pool.tiers == tiers
    assert [pool.health(backend) for backend in backends] == health

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tcplb.policy.backend import Backend
from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.lease import Lease
from tcplb.policy.names import HashKey, KeyRule, StrategyName
from tcplb.policy.occupancy import Occupancy
from tcplb.policy.outcome import Outcome
from tcplb.policy.pool import Pool
from tcplb.policy.ring import HashRing
from tcplb.policy.rules import PoolRules
from tcplb.policy.transition import State, Transition
from tests.policy.backends import backend_lists, maker, named, names, weighted

STEADY = EjectPolicy(jitter=0, max_ejected_percent=100)
LONGEST = 60 * 1.1

every_strategy = pytest.mark.parametrize("strategy", StrategyName)


def make_pool(
    backends: list[Backend],
    strategy: StrategyName = StrategyName.ROUND_ROBIN,
    *,
    eject: EjectPolicy = STEADY,
    occupancy: Occupancy | None = None,
) -> Pool:
    return Pool(
        "web",
        backends,
        maker(strategy),
        rules=PoolRules(eject=eject),
        rng=Random(1),
        occupancy=occupancy,
    )


def acquire(pool: Pool, now: float, exclude: Collection[str] = (), key: bytes = b"key") -> Lease:
    lease = pool.acquire(key, now=now, exclude=exclude)
    assert lease is not None
    return lease


def dial(
    pool: Pool, outcome: Outcome, now: float, exclude: Collection[str] = (), key: bytes = b"key"
) -> tuple[str, Transition | None]:
    """Live a whole short session: acquire, observe, release."""
    lease = acquire(pool, now, exclude, key)
    transition = pool.observe(lease, outcome, now=now)
    pool.release(lease)
    return lease.backend.name, transition


def others(pool: Pool, name: str) -> set[str]:
    return set(names(pool.backends)) - {name}


def fail(pool: Pool, name: str, now: float, times: int = 3) -> None:
    for _ in range(times):
        assert dial(pool, Outcome.REFUSED, now, others(pool, name))[0] == name


def state_of(pool: Pool, name: str) -> State:
    return pool.state(next(backend for backend in pool.backends if backend.name == name))


def served(
    pool: Pool, sessions: int, now: float, down: Collection[str] = (), key: bytes | None = None
) -> Counter[str]:
    """Count who serves sessions that try again, each backend at most once, until one answers."""
    counted: Counter[str] = Counter()
    for session in range(sessions):
        tried: set[str] = set()
        key_of_session = b"/%d" % session if key is None else key
        while lease := pool.acquire(key_of_session, now=now, exclude=tried):
            name = lease.backend.name
            tried.add(name)
            outcome = Outcome.REFUSED if name in down else Outcome.CONNECTED
            pool.observe(lease, outcome, now=now)
            pool.release(lease)
            if outcome is Outcome.CONNECTED:
                counted[name] += 1
                break
    return counted


# -- choose and count -------------------------------------------------------------------------


def test_a_burst_spreads_because_choosing_counts() -> None:
    backends = named("a", "b", "c", "d")
    pool = make_pool(backends)
    leases = [acquire(pool, 0.0) for _ in range(40)]
    assert [pool.active(backend) for backend in backends] == [10, 10, 10, 10]
    assert pool.active_total == 40
    for lease in leases:
        pool.release(lease)
    assert [pool.active(backend) for backend in backends] == [0, 0, 0, 0]
    assert pool.active_total == 0


def test_release_gives_back_one_lease_of_that_backend_only() -> None:
    a, b = backends = named("a", "b")
    pool = make_pool(backends)
    first, _second = acquire(pool, 0.0), acquire(pool, 0.0)
    pool.release(first)
    assert (pool.active(a), pool.active(b), pool.active_total) == (0, 1, 1)


def test_a_lease_says_which_backend_since_when_and_whether_it_is_a_trial() -> None:
    backends = named("a")
    lease = acquire(make_pool(backends), 12.5)
    assert lease.backend is backends[0]
    assert lease.acquired_at == 12.5
    assert not lease.trial


def test_two_leases_of_one_instant_are_two() -> None:
    pool = make_pool(named("a"))
    assert acquire(pool, 0.0) != acquire(pool, 0.0)


def test_the_key_decides_with_hash() -> None:
    backends = named("a", "b", "c", "d")
    pool, ring = make_pool(backends, StrategyName.HASH), HashRing(backends)
    for key in (b"/%d" % index for index in range(100)):
        assert acquire(pool, 0.0, key=key).backend == next(ring.order(key))


def test_a_retry_goes_to_the_next_along_the_ring() -> None:
    backends = named("a", "b", "c", "d")
    pool = make_pool(backends, StrategyName.HASH)
    tried: list[str] = []
    while lease := pool.acquire(b"/x", now=0.0, exclude=tried):
        tried.append(lease.backend.name)
    assert tried == names(HashRing(backends).order(b"/x"))


@every_strategy
def test_what_was_tried_is_never_given_again_and_then_there_is_none(
    strategy: StrategyName,
) -> None:
    pool = make_pool(named("a", "b", "c"), strategy)
    tried: set[str] = set()
    for _ in range(3):
        name = acquire(pool, 0.0, tried).backend.name
        assert name not in tried
        tried.add(name)
    assert pool.acquire(b"key", now=0.0, exclude=tried) is None
    assert pool.active_total == 3


@every_strategy
@pytest.mark.parametrize("backends", [[], weighted(a=0), weighted(a=0, b=0)], ids=str)
def test_without_a_usable_backend_there_is_no_lease(
    strategy: StrategyName, backends: list[Backend]
) -> None:
    pool = make_pool(backends, strategy)
    assert pool.acquire(b"key", now=0.0) is None
    assert pool.active_total == 0


def test_a_pool_keeps_what_it_was_made_of() -> None:
    backends = named("b", "a")
    rules = PoolRules(key_rule=KeyRule(HashKey.CLIENT))
    pool = Pool("web", backends, maker(StrategyName.HASH), rng=Random(1), rules=rules)
    assert pool.name == "web"
    assert pool.backends == tuple(backends)
    assert pool.rules is rules
    assert pool.keyed
    [tier] = pool.tiers
    assert isinstance(tier.strategy, HashRing)


def test_by_default_3_failures_eject_and_the_hash_key_is_auto() -> None:
    pool = Pool("web", named("a", "b"), maker(StrategyName.HASH), rng=Random(1))
    assert pool.rules.key_rule == KeyRule(HashKey.AUTO)
    fail(pool, "a", 0.0, times=2)
    assert state_of(pool, "a") is State.IN
    fail(pool, "a", 0.0, times=1)
    assert state_of(pool, "a") is State.EJECTED


# -- ejection ---------------------------------------------------------------------------------


@every_strategy
def test_an_ejected_backend_is_passed_by_until_its_time_is_over(strategy: StrategyName) -> None:
    pool = make_pool(named("a", "b", "c"), strategy)
    fail(pool, "b", 0.0)
    left = {"a"} if strategy is StrategyName.FIRST else {"a", "c"}
    assert set(served(pool, 60, 4.9)) == left


def test_the_third_failure_in_a_row_is_reported_once() -> None:
    pool = make_pool(named("a", "b"))
    transitions = [dial(pool, Outcome.TIMED_OUT, 1.0, {"b"})[1] for _ in range(5)]
    assert [index for index in range(5) if transitions[index] is not None] == [2]
    assert transitions[2] is not None
    assert transitions[2].backend == "a"
    assert transitions[2].state is State.EJECTED


def test_backends_fail_each_on_their_own() -> None:
    pool = make_pool(named("a", "b", "c"))
    fail(pool, "a", 0.0, times=2)
    fail(pool, "b", 0.0, times=2)
    assert state_of(pool, "a") is state_of(pool, "b") is State.IN


def test_the_length_of_an_ejection_is_drawn_from_the_random_that_was_given() -> None:
    policy = EjectPolicy()
    pool = make_pool(named("a", "b"), eject=policy)
    fail(pool, "a", 0.0)
    until = policy.duration(1, Random(1))
    assert acquire(pool, until - 0.001, {"b"}).trial is False  # a last resort
    assert acquire(pool, until, {"b"}).trial is True


def test_a_dial_is_as_old_as_its_lease() -> None:
    # Four connects hang since 0 s; one of 1 s succeeds; then the four time out.
    pool = make_pool(named("a", "b"))
    hanging = [acquire(pool, 0.0, {"b"}) for _ in range(4)]
    dial(pool, Outcome.CONNECTED, 1.0, {"b"})
    for lease in hanging:
        assert pool.observe(lease, Outcome.TIMED_OUT, now=5.0) is None
    assert state_of(pool, "a") is State.IN


@pytest.mark.parametrize("outcome", [Outcome.NO_RESOURCES, Outcome.ABANDONED])
def test_our_own_troubles_eject_nobody(outcome: Outcome) -> None:
    pool = make_pool(named("a", "b"))
    for _ in range(20):
        assert dial(pool, outcome, 0.0)[1] is None
    assert state_of(pool, "a") is state_of(pool, "b") is State.IN


# -- the last one, and none -------------------------------------------------------------------


def test_the_last_usable_backend_is_never_ejected() -> None:
    pool = make_pool(named("a", "b"))
    fail(pool, "a", 0.0)
    fail(pool, "b", 0.0, times=50)
    assert state_of(pool, "a") is State.EJECTED
    assert state_of(pool, "b") is State.IN


def test_the_only_backend_is_never_ejected() -> None:
    pool = make_pool(named("a"))
    fail(pool, "a", 0.0, times=50)
    assert state_of(pool, "a") is State.IN


def test_a_backend_of_weight_0_is_not_another_usable_one() -> None:
    pool = make_pool(weighted(a=1, drained=0))
    fail(pool, "a", 0.0, times=50)
    assert state_of(pool, "a") is State.IN


def test_a_backend_on_trial_is_not_another_usable_one() -> None:
    pool = make_pool(named("a", "b"))
    fail(pool, "a", 0.0)
    assert acquire(pool, 5.0, {"b"}).trial
    fail(pool, "b", 5.0, times=50)
    assert state_of(pool, "b") is State.IN


def test_the_last_one_is_ejected_by_its_next_failure_once_another_is_back() -> None:
    pool = make_pool(named("a", "b"))
    fail(pool, "a", 0.0)
    fail(pool, "b", 0.0, times=50)
    assert dial(pool, Outcome.CONNECTED, 5.0, {"b"})[0] == "a"
    fail(pool, "b", 6.0, times=1)
    assert state_of(pool, "b") is State.EJECTED


@every_strategy
def test_when_all_the_usable_ones_were_tried_the_ejected_ones_are_a_last_resort(
    strategy: StrategyName,
) -> None:
    backends = named("a", "b", "c", "d")
    pool = make_pool(backends, strategy)
    for name in ("a", "c"):
        fail(pool, name, 0.0)
    tried: list[str] = []
    while lease := pool.acquire(b"/x", now=1.0, exclude=tried):
        assert not lease.trial
        tried.append(lease.backend.name)
    assert set(tried[:2]) == {"b", "d"}
    assert set(tried[2:]) == {"a", "c"}


def test_when_all_that_is_left_is_ejected_the_first_in_the_order_is_used_all_the_same() -> None:
    backends = named("a", "b", "c", "d")
    for key in (b"/%d" % index for index in range(20)):
        first, second, third, last = names(HashRing(backends).order(key))
        pool = make_pool(backends, StrategyName.HASH)
        for name in (third, second, first):
            fail(pool, name, 0.0)
        lease = acquire(pool, 1.0, {last}, key)
        assert (lease.backend.name, lease.trial) == (first, False)
        assert pool.active(lease.backend) == 1


def test_a_last_resort_that_connects_is_back_at_once() -> None:
    pool = make_pool(named("a", "b"))
    fail(pool, "a", 0.0)
    name, transition = dial(pool, Outcome.CONNECTED, 1.0, {"b"})
    assert name == "a"
    assert transition is not None
    assert transition.state is State.IN


def test_a_last_resort_that_fails_prolongs_nothing() -> None:
    pool = make_pool(named("a", "b"))
    fail(pool, "a", 0.0)
    for now in (1.0, 2.0, 4.9):
        assert dial(pool, Outcome.REFUSED, now, {"b"})[1] is None
    assert acquire(pool, 5.0, {"b"}).trial


def test_last_resorts_are_tried_in_turn_not_always_the_same_one_first() -> None:
    # d, the last usable one, is down as well, and a client may have time for one more dial only.
    pool = make_pool(named("a", "b", "c", "d"))
    for name in ("a", "b", "c"):
        fail(pool, name, 0.0)
    first = Counter(acquire(pool, 1.0, {"d"}).backend.name for _ in range(30))
    assert set(first) == {"a", "b", "c"}


# -- the trial --------------------------------------------------------------------------------


@every_strategy
def test_one_connection_gets_the_trial_and_the_rest_pass_by(strategy: StrategyName) -> None:
    pool = make_pool(named("a", "b"), strategy)
    fail(pool, "a", 0.0)
    leases = [acquire(pool, 5.0, key=b"/%d" % index) for index in range(50)]
    trials = [lease for lease in leases if lease.trial]
    assert names(lease.backend for lease in trials) == ["a"]
    assert pool.active(trials[0].backend) == 1
    assert state_of(pool, "a") is State.ON_TRIAL


def test_a_trial_that_fails_is_followed_by_another_only_after_a_longer_time() -> None:
    pool = make_pool(named("a", "b"))
    fail(pool, "a", 0.0)
    assert dial(pool, Outcome.REFUSED, 5.0, {"b"})[0] == "a"
    assert set(served(pool, 20, 14.9)) == {"b"}
    assert acquire(pool, 15.0, {"b"}).trial


@pytest.mark.parametrize("outcome", [Outcome.NO_RESOURCES, Outcome.ABANDONED])
def test_a_trial_that_learns_nothing_is_given_to_the_next(outcome: Outcome) -> None:
    pool = make_pool(named("a", "b"))
    fail(pool, "a", 0.0)
    assert dial(pool, outcome, 5.0, {"b"}) == ("a", None)
    assert acquire(pool, 5.0, {"b"}).trial


def test_a_trial_that_is_out_leaves_the_backend_as_a_last_resort() -> None:
    pool = make_pool(named("a", "b"))
    fail(pool, "a", 0.0)
    assert acquire(pool, 5.0, {"b"}).trial
    lease = acquire(pool, 5.0, {"b"})
    assert (lease.backend.name, lease.trial) == ("a", False)


# -- known mistakes of a first implementation -------------------------------------------------


def test_a_failing_backend_is_not_registered_again_and_gains_no_share() -> None:
    pool = make_pool(named("a", "b", "c", "d"))
    now = 0.0
    for _ in range(5):  # out and back, again and again
        fail(pool, "b", now)
        assert served(pool, 30, now, down="b") == {"a": 10, "c": 10, "d": 10}
        now += LONGEST
        assert dial(pool, Outcome.CONNECTED, now, others(pool, "b"))[1] is not None
    assert names(pool.backends) == ["a", "b", "c", "d"]
    assert served(pool, 400, now) == {"a": 100, "b": 100, "c": 100, "d": 100}


def test_after_it_failed_and_came_back_a_backend_has_exactly_its_keys_on_the_ring() -> None:
    backends = named("a", "b", "c", "d")
    pool = make_pool(backends, StrategyName.HASH)
    keys = [b"/%d" % index for index in range(500)]

    def placed(now: float) -> dict[bytes, str]:
        return {key: dial(pool, Outcome.CONNECTED, now, key=key)[0] for key in keys}

    before = placed(0.0)
    fail(pool, "b", 1.0)
    without = placed(2.0)
    assert {key for key in keys if before[key] != without[key]} == {
        key for key in keys if before[key] == "b"
    }
    dial(pool, Outcome.CONNECTED, 6.0, others(pool, "b"))
    assert placed(7.0) == before


@every_strategy
def test_a_backend_that_failed_comes_back_by_ordinary_connections(strategy: StrategyName) -> None:
    pool = make_pool(named("a", "b", "c", "d"), strategy)
    down = "a" if strategy is StrategyName.FIRST else "b"
    now = 0.0
    while now < 300:  # it is down for five minutes
        assert sum(served(pool, 40, now, down=down).values()) == 40
        now += 1
    assert state_of(pool, down) is State.EJECTED
    now += LONGEST  # it has come up: nobody says so, connections find out
    assert served(pool, 400, now)[down] > 50
    assert state_of(pool, down) is State.IN


def test_a_backend_of_many_virtual_nodes_is_probed_once() -> None:
    pool = make_pool(weighted(a=8, b=1), StrategyName.HASH)
    fail(pool, "a", 0.0)
    leases = [acquire(pool, 5.0, key=b"/%d" % index) for index in range(500)]
    assert [lease.backend.name for lease in leases if lease.trial] == ["a"]
    assert Counter(lease.backend.name for lease in leases) == {"a": 1, "b": 499}


def test_with_one_backend_down_no_session_fails_and_after_ejection_none_waits() -> None:
    pool = make_pool(named("a", "b", "c", "d"))
    assert sum(served(pool, 1000, 0.0, down="b").values()) == 1000
    assert state_of(pool, "b") is State.EJECTED
    assert all(acquire(pool, 1.0).backend.name != "b" for _ in range(100))


# -- anything that can happen -----------------------------------------------------------------


class AnyTraffic(RuleBasedStateMachine):
    """A pool, sessions that overlap and end in any way, and time that passes."""

    @initialize(
        backends=backend_lists(min_size=1, max_size=4, weights=st.integers(0, 2)),
        strategy=st.sampled_from(StrategyName),
    )
    def start(self, backends: list[Backend], strategy: StrategyName) -> None:
        self.pool = make_pool(backends, strategy, eject=EjectPolicy())
        self.usable = {backend.name for backend in backends if backend.weight > 0}
        self.now = 0.0
        self.dials: list[Lease] = []
        self.sessions: list[Lease] = []

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 4.4, 5.5, 30.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data(), key=st.binary(max_size=2))
    def a_client_comes(self, data: st.DataObject, key: bytes) -> None:
        everybody = st.sampled_from(names(self.pool.backends))
        exclude = data.draw(st.sets(everybody))
        left = self.usable - exclude
        states = {backend.name: self.pool.state(backend) for backend in self.pool.backends}
        lease = self.pool.acquire(key, now=self.now, exclude=exclude)
        if lease is None:
            assert not left
            return
        name = lease.backend.name
        assert name in left
        assert lease.acquired_at == self.now
        assert lease.trial == (self.pool.state(lease.backend) is not states[name])
        if states[name] is not State.IN and not lease.trial:
            assert all(states[other] is not State.IN for other in left)
        self.dials.append(lease)

    @precondition(lambda self: self.dials)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def a_dial_ends(self, data: st.DataObject, outcome: Outcome) -> None:
        lease = self.dials.pop(data.draw(st.integers(0, len(self.dials) - 1)))
        transition = self.pool.observe(lease, outcome, now=self.now)
        if transition is not None:
            assert transition.backend == lease.backend.name
            assert transition.state is self.pool.state(lease.backend)
        if outcome is Outcome.CONNECTED:
            assert self.pool.state(lease.backend) is State.IN
            self.sessions.append(lease)
        else:
            self.pool.release(lease)

    @precondition(lambda self: self.sessions)
    @rule()
    def a_session_ends(self) -> None:
        self.pool.release(self.sessions.pop())

    @invariant()
    def the_counts_are_those_of_the_leases_out(self) -> None:
        out = Counter(lease.backend.name for lease in self.dials + self.sessions)
        counted = {backend.name: self.pool.active(backend) for backend in self.pool.backends}
        assert counted == {backend.name: out[backend.name] for backend in self.pool.backends}
        assert self.pool.active_total == out.total()

    @invariant()
    def somebody_is_in(self) -> None:
        states = [self.pool.state(backend) for backend in self.pool.backends if backend.weight]
        assert not states or State.IN in states

    @invariant()
    def who_is_on_trial_has_its_trial_out(self) -> None:
        trials = {lease.backend.name for lease in self.dials if lease.trial}
        for backend in self.pool.backends:
            assert self.pool.state(backend) is not State.ON_TRIAL or backend.name in trials

    def teardown(self) -> None:
        """However it came here: after some time and one connect each, all are back."""
        if not hasattr(self, "pool"):
            return
        for lease in self.dials:
            self.pool.observe(lease, Outcome.ABANDONED, now=self.now)
            self.pool.release(lease)
        for lease in self.sessions:
            self.pool.release(lease)
        self.now += LONGEST
        for name in self.usable:
            assert dial(self.pool, Outcome.CONNECTED, self.now, others(self.pool, name))[0] == name
        assert all(self.pool.state(backend) is State.IN for backend in self.pool.backends)
        assert self.pool.active_total == 0


if TYPE_CHECKING:
    TestAnyTraffic = AnyTraffic
else:
    TestAnyTraffic = AnyTraffic.TestCase
    TestAnyTraffic.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

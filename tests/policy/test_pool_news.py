"""Pools of several processes that tell each other their verdicts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
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
from tcplb.policy.ejection import LEARNT_GRACE, EjectPolicy
from tcplb.policy.lease import Lease
from tcplb.policy.names import StrategyName
from tcplb.policy.occupancy import LocalOccupancy
from tcplb.policy.outcome import Outcome
from tcplb.policy.pool import Pool
from tcplb.policy.rules import PoolRules
from tcplb.policy.transition import State, Transition
from tests.policy.backends import maker, named, names, weighted
from tests.policy.test_pool import acquire, dial, fail, make_pool, others, state_of

LONGEST_EJECTION = 60 * 1.1
TRIAL = 3.0


def ejection(pool: Pool, name: str, now: float) -> Transition:
    """Let dials to one backend fail until it is ejected."""
    fail(pool, name, now, times=2)
    transition = dial(pool, Outcome.REFUSED, now, others(pool, name))[1]
    assert transition is not None
    return transition


def test_an_ejection_reaches_the_other_process() -> None:
    one, other = make_pool(named("a", "b")), make_pool(named("a", "b"))
    assert other.learn(ejection(one, "a", 0.0), now=0.1)
    assert {acquire(other, 1.0).backend.name for _ in range(10)} == {"b"}


def test_a_return_reaches_the_other_process() -> None:
    one, other = make_pool(named("a", "b")), make_pool(named("a", "b"))
    other.learn(ejection(one, "a", 0.0), now=0.1)
    back = dial(one, Outcome.CONNECTED, 5.0, {"b"})[1]
    assert back is not None
    assert other.learn(back, now=5.1)
    assert {acquire(other, 5.1).backend.name for _ in range(10)} == {"a", "b"}


def test_one_trial_goes_out_over_both_processes() -> None:
    one, other = make_pool(named("a", "b")), make_pool(named("a", "b"))
    other.learn(ejection(one, "a", 0.0), now=0.1)
    assert not any(acquire(other, 5.0).trial for _ in range(10))
    lease = acquire(one, 5.0, {"b"})
    assert lease.trial
    news = one.trial_begun(lease, until=5.0 + TRIAL)
    assert (news.state, news.until, news.at) == (State.ON_TRIAL, 8.0, 5.0)
    assert str(news) == "backend a is on trial: one connect finds out whether it is back"
    assert other.learn(news, now=5.1)
    assert state_of(other, "a") is State.ON_TRIAL
    assert not any(acquire(other, 5.0 + LEARNT_GRACE + 0.1).trial for _ in range(10))
    failed = one.observe(lease, Outcome.TIMED_OUT, now=8.0)
    assert failed is not None
    assert other.learn(failed, now=8.1)
    assert state_of(other, "a") is State.EJECTED
    assert not acquire(other, 18.0, {"b"}).trial  # 10 s, the second time
    assert acquire(other, 18.0 + LEARNT_GRACE, {"b"}).trial


def test_if_the_one_that_ejected_gets_no_traffic_the_other_one_tries() -> None:
    one, other = make_pool(named("a", "b")), make_pool(named("a", "b"))
    other.learn(ejection(one, "a", 0.0), now=0.1)
    back = dial(other, Outcome.CONNECTED, 5.0 + LEARNT_GRACE, {"b"})[1]
    assert back is not None
    assert one.learn(back, now=6.1)
    assert state_of(one, "a") is State.IN


def test_two_that_each_eject_the_other_backend_keep_one_each() -> None:
    one, other = make_pool(named("a", "b")), make_pool(named("a", "b"))
    a_is_out, b_is_out = ejection(one, "a", 0.0), ejection(other, "b", 0.0)
    assert not one.learn(b_is_out, now=0.1)
    assert not other.learn(a_is_out, now=0.1)
    assert acquire(one, 1.0).backend.name == "b"
    assert acquire(other, 1.0).backend.name == "a"


def test_a_drained_backend_is_not_another_one_that_is_in() -> None:
    pool = make_pool(weighted(a=1, drained=0))
    news = Transition("a", State.EJECTED, "ejected", until=5.0, ejections=1, at=0.0)
    assert not pool.learn(news, now=0.1)
    assert state_of(pool, "a") is State.IN


@pytest.mark.parametrize("state", State)
def test_news_of_a_backend_that_is_not_here_are_none(state: State) -> None:
    pool = make_pool(named("a", "b"))
    assert not pool.learn(Transition("nosuch", state, "x", until=9.0, at=0.0), now=0.0)


# -- anything that can happen -----------------------------------------------------------------


@dataclass(eq=False)
class Process:
    pool: Pool
    dials: list[Lease] = field(default_factory=list)
    sessions: list[Lease] = field(default_factory=list)
    post: list[Transition] = field(default_factory=list)

    def tells(self, everybody: list[Process], news: Transition | None) -> None:
        for process in everybody:
            if process is not self and news is not None:
                process.post.append(news)


class AnyNews(RuleBasedStateMachine):
    """Processes with one configuration and one count; news that are late, overtaken or lost."""

    @initialize(
        weights=st.lists(st.integers(0, 2), min_size=1, max_size=3),
        limit=st.sampled_from([0, 0, 1, 3]),
        count=st.integers(2, 3),
        strategy=st.sampled_from(StrategyName),
    )
    def start(self, weights: list[int], limit: int, count: int, strategy: StrategyName) -> None:
        self.backends = [
            Backend(name, "127.0.0.1", 8081, weight, limit)
            for name, weight in zip("abc", weights, strict=False)
        ]
        self.usable = {backend.name for backend in self.backends if backend.weight > 0}
        self.limit = limit
        self.occupancy = LocalOccupancy(len(weights))
        self.strategy = strategy
        self.seeds = Random(1)
        self.processes = [Process(self.new_pool()) for _ in range(count)]
        self.now = 0.0

    def new_pool(self) -> Pool:
        return Pool(
            "web",
            self.backends,
            maker(self.strategy),
            rules=PoolRules(eject=EjectPolicy(failures=2)),
            rng=Random(self.seeds.random()),
            occupancy=self.occupancy,
        )

    def draw(self, data: st.DataObject) -> Process:
        return self.processes[data.draw(st.integers(0, len(self.processes) - 1))]

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 4.4, 5.5, 30.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data(), key=st.binary(max_size=1))
    def a_client_comes(self, data: st.DataObject, key: bytes) -> None:
        process = self.draw(data)
        exclude = data.draw(st.sets(st.sampled_from(names(self.backends))))
        left = self.usable - exclude
        lease = process.pool.acquire(key, now=self.now, exclude=exclude)
        if lease is None:
            assert process.pool.full(exclude) == bool(left)
            # Those that are out are tried if no other is left, and not if the others are full.
            pool = process.pool
            wanted = [one for one in self.backends if one.name in left]
            admitted = [one for one in wanted if pool.health(one).admits(self.now)] or wanted
            assert all(0 < self.limit <= pool.active(one) for one in admitted)
            return
        assert lease.backend.name in left
        process.dials.append(lease)
        if lease.trial:
            process.tells(self.processes, process.pool.trial_begun(lease, until=self.now + TRIAL))

    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def a_dial_ends(self, data: st.DataObject, outcome: Outcome) -> None:
        process = self.draw(data)
        if not process.dials:
            return
        lease = process.dials.pop(data.draw(st.integers(0, len(process.dials) - 1)))
        process.tells(self.processes, process.pool.observe(lease, outcome, now=self.now))
        if outcome is Outcome.CONNECTED:
            assert process.pool.state(lease.backend) is State.IN
            process.sessions.append(lease)
        else:
            process.pool.release(lease)

    @rule(data=st.data())
    def a_session_ends(self, data: st.DataObject) -> None:
        process = self.draw(data)
        if process.sessions:
            process.pool.release(process.sessions.pop())

    @rule(data=st.data(), lost=st.booleans())
    def news_come(self, data: st.DataObject, lost: bool) -> None:
        process = self.draw(data)
        if not process.post:
            return
        news = process.post.pop(data.draw(st.integers(0, len(process.post) - 1)))
        if not lost:
            process.pool.learn(news, now=self.now)

    @rule(data=st.data())
    def a_process_dies_and_is_replaced(self, data: st.DataObject) -> None:
        process = self.draw(data)
        for lease in process.dials + process.sessions:
            process.pool.release(lease)  # what the supervisor does with its counts
        self.processes[self.processes.index(process)] = Process(self.new_pool())

    @precondition(lambda self: hasattr(self, "processes"))
    @invariant()
    def somebody_is_in_everywhere(self) -> None:
        for process in self.processes:
            states = [process.pool.state(one) for one in self.backends if one.weight > 0]
            assert not states or State.IN in states

    @precondition(lambda self: hasattr(self, "processes"))
    @invariant()
    def the_counts_are_those_of_the_leases_out(self) -> None:
        leases = [one for process in self.processes for one in process.dials + process.sessions]
        out = Counter(lease.backend.name for lease in leases)
        assert all(count <= self.limit or not self.limit for count in out.values())
        for process in self.processes:
            for backend in self.backends:
                assert process.pool.active(backend) == out[backend.name]
            assert process.pool.active_total == len(process.dials) + len(process.sessions)

    def teardown(self) -> None:
        """However it came here: without any more news, each process has all back after a time."""
        if not hasattr(self, "processes"):
            return
        for process in self.processes:
            for lease in process.dials:
                process.pool.observe(lease, Outcome.ABANDONED, now=self.now)
            for lease in process.dials + process.sessions:
                process.pool.release(lease)
        self.now += LONGEST_EJECTION + TRIAL + LEARNT_GRACE
        for process in self.processes:
            for name in self.usable:
                lease = acquire(process.pool, self.now, others(process.pool, name))
                assert lease.trial or process.pool.state(lease.backend) is State.IN
                process.pool.observe(lease, Outcome.CONNECTED, now=self.now)
                process.pool.release(lease)
                assert process.pool.state(lease.backend) is State.IN


if TYPE_CHECKING:
    TestAnyNews = AnyNews
else:
    TestAnyNews = AnyNews.TestCase
    TestAnyNews.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)

"""A pool through anything that can happen to it, beside a model that says what it is to think."""

from __future__ import annotations

from collections.abc import Collection
from math import ceil, floor
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
from tcplb.policy.names import StrategyName
from tcplb.policy.outcome import Outcome
from tcplb.policy.pool import Pool
from tcplb.policy.rules import PoolRules
from tcplb.policy.transition import Checked, Mode, State, Transition
from tests.policy.backends import maker
from tests.policy.pool_model import Known, Model

LONGEST = 70.0

BACKENDS = st.lists(
    st.tuples(
        st.sampled_from([1, 1, 1, 2, 0]),  # weight
        st.sampled_from([0, 0, 1, 2]),  # max_connections
        st.sampled_from([0, 0, 0, 1, 4]),  # tier
    ),
    min_size=1,
    max_size=5,
)
RULES = st.builds(
    PoolRules,
    hash_balance_factor=st.sampled_from([0, 101, 150]),
    slow_start=st.sampled_from([0.0, 10.0]),
    panic_threshold=st.sampled_from([0, 60, 100]),
    eject=st.builds(
        EjectPolicy,
        failures=st.sampled_from([2, 2, 0]),
        failure_rate=st.sampled_from([0.0, 0.5]),
        min_connects=st.just(4),
        first_byte=st.booleans(),
        max_ejected_percent=st.sampled_from([0, 40, 50, 100]),
        jitter=st.just(0.0),
    ),
)


class AnyOrder(RuleBasedStateMachine):
    """The operator, the checks, other processes, clients and time, in any order."""

    @initialize(shapes=BACKENDS, rules=RULES, strategy=st.sampled_from(StrategyName))
    def start(
        self, shapes: list[tuple[int, int, int]], rules: PoolRules, strategy: StrategyName
    ) -> None:
        self.backends = [
            Backend(name, "127.0.0.1", 8081, *shape)
            for name, shape in zip("abcde", shapes, strict=False)
        ]
        self.pool = Pool("web", self.backends, maker(strategy), rng=Random(1), rules=rules)
        self.model = Model(self.backends, rules)
        self.dials: list[Lease] = []
        self.sessions: list[Lease] = []

    def draw(self, data: st.DataObject) -> Known:
        return self.model.known[data.draw(st.sampled_from(self.backends)).name]

    def draw_names(self, data: st.DataObject) -> set[str]:
        return data.draw(st.sets(st.sampled_from([one.name for one in self.backends])))

    # -- the operator, the checks, another process, time --------------------------------------

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 4.0, 5.0, 11.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.model.now += seconds

    @rule(data=st.data(), mode=st.sampled_from([Mode.ENABLED, *Mode]))
    def the_operator_says(self, data: st.DataObject, mode: Mode) -> None:
        known = self.draw(data)
        was_usable, is_news = known.usable, known.mode is not mode
        known.mode = mode
        self.model.note_return(known, was_usable=was_usable)
        assert self.learn(known, mode) == is_news

    @rule(data=st.data(), checked=st.sampled_from(Checked))
    def a_check_says(self, data: st.DataObject, checked: Checked) -> None:
        known = self.draw(data)
        was_usable, is_news = known.usable, known.checked is not checked
        known.checked = checked
        self.model.note_return(known, was_usable=was_usable)
        assert self.learn(known, checked) == is_news

    @rule(data=st.data())
    def a_check_that_passes_ends_an_ejection(self, data: st.DataObject) -> None:
        known = self.draw(data)
        is_news = self.model.returned(known)
        assert self.learn(known, State.IN) == is_news

    @rule(data=st.data(), seconds=st.sampled_from([1.0, 5.0]), ejections=st.integers(1, 3))
    def another_process_ejects(self, data: st.DataObject, seconds: float, ejections: int) -> None:
        known = self.draw(data)
        until = self.model.now + seconds
        is_news = self.model.ejected_elsewhere(known, until, ejections)
        assert self.learn(known, State.EJECTED, until, ejections) == is_news

    def learn(
        self, known: Known, state: Mode | Checked | State, until: float = 0.0, ejections: int = 0
    ) -> bool:
        now = self.model.now
        news = Transition(known.backend.name, state, "x", until, ejections, at=now)
        return self.pool.learn(news, now=now)

    # -- clients ------------------------------------------------------------------------------

    @rule(data=st.data(), key=st.binary(max_size=2))
    def a_client_comes(self, data: st.DataObject, key: bytes) -> None:
        self.acquire(key, self.draw_names(data))

    @rule(key=st.binary(max_size=1), clients=st.integers(1, 6))
    def many_clients_come(self, key: bytes, clients: int) -> None:
        for client in range(clients):
            self.acquire(key + bytes([client]), ())

    @rule(
        data=st.data(),
        outcomes=st.lists(st.sampled_from([*[Outcome.REFUSED] * 2, *Outcome]), max_size=4),
    )
    def clients_insist_on_one_backend(self, data: st.DataObject, outcomes: list[Outcome]) -> None:
        known = self.draw(data)
        others = {one.name for one in self.backends} - {known.backend.name}
        for outcome in outcomes:
            lease = self.acquire(b"key", others)
            if lease is not None:
                self.dials.remove(lease)
                self.end_dial(lease, outcome)

    def acquire(self, key: bytes, exclude: Collection[str]) -> Lease | None:
        model, now = self.model, self.model.now
        candidates = model.candidates(exclude)
        with_room = [one for one in candidates if one.has_room]
        slots = {one: model.slots(one) for one in candidates}
        lease = self.pool.acquire(key, now=now, exclude=exclude)
        if lease is None:
            assert not with_room
            assert self.pool.full(exclude) == bool(candidates)
            return None
        known = model.known[lease.backend.name]
        assert known in with_room  # so it is enabled, of positive weight, and not excluded
        assert (lease.acquired_at, lease.backend) == (now, known.backend)
        self.check_trial(lease, known)
        self.check_growth()
        if self.pool.keyed and model.rules.hash_balance_factor:
            self.check_bound(known, with_room, slots)
        model.leased(lease)
        self.dials.append(lease)
        return lease

    def check_bound(self, chosen: Known, with_room: list[Known], slots: dict[Known, float]) -> None:
        """Nobody is over the bound of load while another is not; whichever way it is rounded."""
        window = self.model.rules.slow_start
        if any(
            len(one.out) < floor(slots[one]) and one.share(self.model.now, window) == 1
            for one in with_room
        ):
            assert len(chosen.out) < ceil(slots[chosen])

    def check_trial(self, lease: Lease, known: Known) -> None:
        due = known.state is not State.IN and known.due <= self.model.now
        assert lease.trial == (due and known.checked is Checked.UP)

    def check_growth(self) -> None:
        window = self.model.rules.slow_start
        for tier in self.pool.tiers:
            for place in tier.places:
                known = self.model.known[place.backend.name]
                if known.usable:
                    share = known.share(self.model.now, window)
                    assert place.share == pytest.approx(share)
                    weight = tier.load.weights[place.index]
                    assert weight == pytest.approx(share * known.weight)

    @precondition(lambda self: self.dials)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def a_dial_ends(self, data: st.DataObject, outcome: Outcome) -> None:
        self.end_dial(self.dials.pop(data.draw(st.integers(0, len(self.dials) - 1))), outcome)

    def end_dial(self, lease: Lease, outcome: Outcome) -> None:
        expected = self.model.dial_ended(lease, outcome)
        self.check_change(lease, self.pool.observe(lease, outcome, now=self.model.now), expected)
        if outcome is Outcome.CONNECTED:
            self.sessions.append(lease)
        else:
            self.release(lease)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def a_backend_answers(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(self.sessions))
        expected = self.model.succeeded(self.model.known[lease.backend.name])
        changed = self.pool.observe_first_byte(lease, now=self.model.now)
        self.check_change(lease, changed, expected)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def a_backend_hangs_up_without_an_answer(self, data: st.DataObject) -> None:
        lease = self.sessions.pop(data.draw(st.integers(0, len(self.sessions) - 1)))
        known = self.model.known[lease.backend.name]
        expected = None
        if known.state is State.IN:
            expected = self.model.failed(known, self.model.now)
        changed = self.pool.observe_no_answer(lease, now=self.model.now)
        self.check_change(lease, changed, expected)
        self.release(lease)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def a_session_ends(self, data: st.DataObject) -> None:
        self.release(self.sessions.pop(data.draw(st.integers(0, len(self.sessions) - 1))))

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def a_session_ends_and_one_that_waits_has_its_place(self, data: st.DataObject) -> None:
        freed = self.sessions.pop(data.draw(st.integers(0, len(self.sessions) - 1)))
        exclude = self.draw_names(data)
        self.release(freed)
        known = self.model.known[freed.backend.name]
        lease = self.pool.acquire_freed(freed, now=self.model.now, exclude=exclude)
        suits = known in self.model.candidates(exclude) and known.admitted(self.model.now)
        assert (lease is not None) == suits
        if lease is not None:
            assert lease.backend is freed.backend
            self.check_trial(lease, known)
            self.model.leased(lease)
            self.dials.append(lease)

    def release(self, lease: Lease) -> None:
        self.pool.release(lease)
        self.model.released(lease)

    def check_change(
        self, lease: Lease, transition: Transition | None, expected: State | None
    ) -> None:
        assert (transition and transition.state) is expected
        if transition is not None:
            known = self.model.known[lease.backend.name]
            assert transition.backend == lease.backend.name
            if expected is State.EJECTED:
                assert (transition.until, transition.ejections) == (known.due, known.ejections)

    # -- what is true at any time -------------------------------------------------------------

    @invariant()
    def the_pool_thinks_what_the_model_thinks(self) -> None:
        for backend in self.backends if hasattr(self, "pool") else []:
            known, health = self.model.known[backend.name], self.pool.health(backend)
            assert self.pool.state(backend) is known.state
            assert (health.mode, health.checked) == (known.mode, known.checked)
            assert health.usable == known.usable
            assert health.admits(self.model.now) == known.admitted(self.model.now)

    @invariant()
    def a_tiers_counts_are_those_of_a_recount(self) -> None:
        for tier in self.pool.tiers if hasattr(self, "pool") else []:
            members = [self.model.known[place.backend.name] for place in tier.places]
            assert [place.usable for place in tier.places] == [one.usable for one in members]
            usable = [one for one in members if one.usable and one.weight]
            assert tier.usable == len(usable)
            assert tier.usable_weight == sum(one.weight for one in usable)
            assert tier.size == sum(one.enabled and one.weight > 0 for one in members)

    @invariant()
    def the_counts_are_those_of_the_leases_out(self) -> None:
        if not hasattr(self, "pool"):
            return
        for backend in self.backends:
            out = len(self.model.known[backend.name].out)
            assert self.pool.active(backend) == out
            assert out <= backend.max_connections or not backend.max_connections
        assert self.pool.active_total == self.model.total()

    @invariant()
    def a_trial_that_is_out_is_the_only_one(self) -> None:
        for known in self.model.known.values() if hasattr(self, "model") else []:
            if known.state is State.ON_TRIAL:
                assert known.trial in self.dials
                assert known.due == float("inf")

    def teardown(self) -> None:
        """However it came here: once nothing is wrong any more, some time later all are usable."""
        if not hasattr(self, "pool"):
            return
        for dial in self.dials:
            self.end_dial(dial, Outcome.ABANDONED)
        for session in self.sessions:
            self.release(session)
        self.dials = []
        for known in self.model.known.values():
            known.mode, known.checked = Mode.ENABLED, Checked.UP
            self.learn(known, Mode.ENABLED)
            self.learn(known, Checked.UP)
        self.model.now += LONGEST
        everybody = {one.backend.name for one in self.model.weighted()}
        for name in everybody:
            lease = self.pool.acquire(b"key", now=self.model.now, exclude=everybody - {name})
            assert lease is not None
            self.pool.observe(lease, Outcome.CONNECTED, now=self.model.now)
            self.pool.release(lease)
            assert self.pool.health(lease.backend).usable
        assert self.pool.active_total == 0


if TYPE_CHECKING:
    TestAnyOrder = AnyOrder
else:
    TestAnyOrder = AnyOrder.TestCase
    TestAnyOrder.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)

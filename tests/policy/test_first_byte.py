"""Backends that take connections and end them without a word, if the option says that counts."""

from __future__ import annotations

import pytest

from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.lease import Lease
from tcplb.policy.outcome import Outcome
from tcplb.policy.pool import Pool
from tcplb.policy.transition import State, Transition
from tests.policy.backends import named, names
from tests.policy.pools import pool_of
from tests.policy.test_pool import state_of

OPTION = EjectPolicy(failures=3, first_byte=True, jitter=0)


def pool_with_option(eject: EjectPolicy = OPTION) -> Pool:
    return pool_of(named("a", "b"), eject=eject)


def connect(pool: Pool, now: float = 0.0, name: str = "a") -> tuple[Lease, Transition | None]:
    exclude = set(names(pool.backends)) - {name}
    lease = pool.acquire(b"key", now=now, exclude=exclude)
    assert lease is not None
    change = pool.observe(lease, Outcome.CONNECTED, now=now)
    pool.release(lease)  # what is told of a session comes before or after: it does not matter
    return lease, change


def no_answer(pool: Pool, now: float = 0.0, times: int = 1) -> Transition | None:
    change = None
    for _ in range(times):
        change = pool.observe_no_answer(connect(pool, now)[0], now=now)
    return change


def refuse(pool: Pool, now: float = 0.0) -> Transition | None:
    lease = pool.acquire(b"key", now=now, exclude={"b"})
    assert lease is not None
    pool.release(lease)
    return pool.observe(lease, Outcome.REFUSED, now=now)


def test_three_that_end_without_a_byte_eject_though_each_connects() -> None:
    pool = pool_with_option()
    assert no_answer(pool, times=2) is None
    change = no_answer(pool)
    assert change is not None
    assert change.state is state_of(pool, "a") is State.EJECTED
    assert "3 connects in a row failed" in change.reason
    assert "the last one closed before its first byte" in change.reason


def test_a_connect_alone_does_not_begin_the_count_anew() -> None:
    pool = pool_with_option()
    no_answer(pool, times=2)
    for _ in range(10):
        assert connect(pool)[1] is None
    assert no_answer(pool) is not None


def test_a_first_byte_does() -> None:
    pool = pool_with_option()
    no_answer(pool, times=2)
    assert pool.observe_first_byte(connect(pool)[0], now=0.0) is None
    no_answer(pool, times=2)
    assert state_of(pool, "a") is State.IN
    assert no_answer(pool) is not None


def test_refused_connects_and_silent_ends_make_one_row() -> None:
    pool = pool_with_option()
    refuse(pool)
    connect(pool)
    no_answer(pool)
    assert refuse(pool) is not None


def test_a_dial_that_was_refused_before_the_first_byte_of_another_is_old_news() -> None:
    pool = pool_with_option()
    dials = [pool.acquire(b"key", now=0.0, exclude={"b"}) for _ in range(4)]
    pool.observe_first_byte(connect(pool, 1.0)[0], now=1.0)
    for lease in dials:
        assert lease is not None
        assert pool.observe(lease, Outcome.TIMED_OUT, now=3.0) is None


def test_without_the_option_a_connect_begins_the_count_anew() -> None:
    pool = pool_with_option(EjectPolicy(failures=3, jitter=0))
    refuse(pool)
    refuse(pool)
    connect(pool)
    assert refuse(pool) is None


def test_an_ejected_backend_is_back_as_soon_as_it_connects() -> None:
    pool = pool_with_option()
    no_answer(pool, times=3)
    lease, change = connect(pool, 5.0)
    assert lease.trial
    assert change is not None
    assert change.state is state_of(pool, "a") is State.IN


def test_an_ejected_backend_is_back_as_soon_as_an_older_session_hears_from_it() -> None:
    pool = pool_with_option()
    older = connect(pool)[0]
    no_answer(pool, times=3)
    change = pool.observe_first_byte(older, now=1.0)
    assert change is not None
    assert change.state is state_of(pool, "a") is State.IN


def test_a_silent_end_is_news_however_long_ago_the_session_began() -> None:
    pool = pool_with_option()
    older = [connect(pool)[0] for _ in range(3)]
    pool.observe_first_byte(connect(pool, 1.0)[0], now=1.0)
    assert [pool.observe_no_answer(lease, now=2.0) for lease in older[:2]] == [None, None]
    change = pool.observe_no_answer(older[2], now=2.5)
    assert change is not None
    assert change.at == 2.5
    assert "3 connects in a row failed in 500 ms" in change.reason


def test_the_silent_end_of_a_session_that_was_a_trial_counts_as_one() -> None:
    pool = pool_with_option()
    no_answer(pool, times=3)
    trial = connect(pool, 5.0)[0]
    assert trial.trial
    assert pool.observe_no_answer(trial, now=6.0) is None
    assert no_answer(pool, 6.0) is None
    assert no_answer(pool, 6.0) is not None


def test_one_that_is_out_is_not_ejected_again_by_its_last_sessions() -> None:
    pool = pool_with_option()
    older = [connect(pool)[0] for _ in range(10)]
    no_answer(pool, times=3)
    assert [pool.observe_no_answer(lease, now=1.0) for lease in older] == [None] * 10
    assert connect(pool, 5.0)[0].trial  # and nothing is prolonged


def test_the_end_of_a_silent_session_does_not_end_the_trial_of_another() -> None:
    pool = pool_with_option()
    older = connect(pool)[0]
    no_answer(pool, times=3)
    trial = pool.acquire(b"key", now=5.0, exclude={"b"})
    assert trial is not None
    assert trial.trial
    assert pool.observe_no_answer(older, now=5.1) is None
    assert state_of(pool, "a") is State.ON_TRIAL


def test_the_last_one_stays() -> None:
    pool = pool_of(named("a"), eject=OPTION)
    assert no_answer(pool, times=50) is None
    assert state_of(pool, "a") is State.IN


def test_the_rate_counts_a_connection_once_by_how_it_ends() -> None:
    pool = pool_with_option(
        EjectPolicy(failures=0, first_byte=True, failure_rate=0.5, min_connects=10, jitter=0)
    )
    for _ in range(5):
        assert pool.observe_first_byte(connect(pool)[0], now=0.0) is None
    assert no_answer(pool, times=4) is None
    change = no_answer(pool)
    assert change is not None
    assert "5 of 10 connects failed" in change.reason


@pytest.mark.parametrize("outcome", [Outcome.ABANDONED, Outcome.NO_RESOURCES])
def test_what_a_client_does_is_never_counted(outcome: Outcome) -> None:
    pool = pool_with_option()
    no_answer(pool, times=2)
    for _ in range(10):
        lease = pool.acquire(b"key", now=0.0, exclude={"b"})
        assert lease is not None
        assert pool.observe(lease, outcome, now=0.0) is None
        connect(pool)  # and nobody says how such a session ended: the client went first
    assert state_of(pool, "a") is State.IN


def test_a_backend_that_takes_trials_and_says_nothing_stays_out_longer_each_time() -> None:
    pool = pool_with_option()
    now, lengths = 0.0, []
    for _ in range(4):
        change = no_answer(pool, now, times=3)
        assert change is not None
        lengths.append(change.until - now)
        now = change.until
        lease, back = connect(pool, now)
        assert lease.trial
        assert back is not None
    assert lengths == [5, 10, 15, 20]


def test_a_first_byte_begins_the_lengths_anew() -> None:
    pool = pool_with_option()
    assert no_answer(pool, times=3) is not None
    lease, _ = connect(pool, 5.0)
    pool.observe_first_byte(lease, now=5.0)
    change = no_answer(pool, 6.0, times=3)
    assert change is not None
    assert change.until == 11

"""Token buckets, with instants as arguments."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.policy.rate import ClientRate, ClientRates, Rate, TokenBucket

# Instants that are whole nanoseconds, and rates whose interval is: nothing is rounded.
TICK = 1 / 512
RATES = st.builds(Rate, st.sampled_from([1, 2, 5, 10, 64, 100]), st.integers(0, 12))
STEPS = st.lists(st.integers(-3, 600), max_size=150)


class NaiveBucket:
    """As in the books: a level that rises with time, up to the capacity."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.level = Fraction(rate.capacity)
        self.latest = Fraction(0)

    def try_take(self, now: float) -> bool:
        exact = max(Fraction(now), self.latest)
        risen = self.level + (exact - self.latest) * self.rate.per_second
        self.level, self.latest = min(risen, Fraction(self.rate.capacity)), exact
        if self.level < 1:
            return False
        self.level -= 1
        return True


def instants(steps: Sequence[int]) -> list[float]:
    """Return instants with these steps between them, some of which go back."""
    now, found = 1000, []
    for step in steps:
        now += step
        found.append(now * TICK)
    return found


@given(RATES, STEPS)
def test_bucket_is_the_one_in_the_books(rate: Rate, steps: list[int]) -> None:
    bucket, naive = TokenBucket(rate), NaiveBucket(rate)
    for now in instants(steps):
        assert bucket.try_take(now) == naive.try_take(now)


@given(
    st.builds(Rate, st.integers(1, 3000), st.integers(0, 50)),
    st.lists(st.floats(0, 2), max_size=150),
)
def test_no_interval_has_more_than_its_burst_and_rate(rate: Rate, steps: list[float]) -> None:
    bucket, now, taken = TokenBucket(rate), 50.0, list[float]()
    for step in steps:
        now += step
        while len(taken) < 2000 and bucket.try_take(now):
            taken.append(now)
    for first in range(0, len(taken), 7):
        for last in range(first, len(taken), 5):
            length = taken[last] - taken[first] + 1e-8
            assert last - first + 1 <= rate.capacity + rate.per_second * length


@given(
    st.builds(Rate, st.integers(1, 3000), st.integers(0, 20)), st.lists(st.floats(0, 1), min_size=1)
)
def test_it_is_ready_when_it_says_and_not_before(rate: Rate, steps: list[float]) -> None:
    bucket, now = TokenBucket(rate), 50.0
    for step in steps:
        now += step
        wait = bucket.ready_in(now)
        if wait:
            assert not bucket.try_take(now)
            assert not bucket.try_take(now + wait - 2e-6)
            now += wait
        assert bucket.ready_in(now) == 0.0
        assert bucket.try_take(now)


def test_full_at_the_start_and_after_a_quiet_time_and_never_fuller() -> None:
    bucket = TokenBucket(Rate(per_second=2, burst=3))
    assert [bucket.try_take(100.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.ready_in(100.0) == 0.5
    assert [bucket.try_take(500.0) for _ in range(4)] == [True, True, True, False]


def test_what_is_given_back_can_be_taken_again() -> None:
    bucket = TokenBucket(Rate(per_second=1, burst=2))
    assert [bucket.try_take(7.0), bucket.try_take(7.0), bucket.try_take(7.0)] == [True, True, False]
    bucket.give_back()
    assert bucket.ready_in(7.0) == 0.0
    assert [bucket.try_take(7.0), bucket.try_take(7.0)] == [True, False]


def test_giving_back_makes_no_bucket_fuller_than_full() -> None:
    bucket = TokenBucket(Rate(per_second=1, burst=2))
    assert bucket.try_take(7.0)
    bucket.give_back()
    bucket.give_back()
    assert [bucket.try_take(7.0) for _ in range(3)] == [True, True, False]


def test_time_that_goes_back_brings_no_token_and_takes_none() -> None:
    bucket = TokenBucket(Rate(per_second=1, burst=2))
    assert bucket.try_take(1000.0)
    assert bucket.try_take(10.0)
    assert not bucket.try_take(999.0)
    assert bucket.ready_in(10.0) == 1.0
    assert bucket.try_take(1001.0)


def test_without_a_burst_it_is_what_comes_in_a_second() -> None:
    assert Rate(per_second=7).capacity == 7
    assert Rate(per_second=7, burst=20).capacity == 20
    assert not Rate(burst=20).limited
    assert Rate(per_second=1).limited


# -- clients ------------------------------------------------------------------------------------


def clients(*, prefix: int = 32, prefix_v6: int = 64, table_size: int = 100) -> ClientRates:
    return ClientRates(ClientRate(Rate(1, 1), prefix, prefix_v6, table_size))


class NaiveClients:
    """A list of clients and buckets, the one seen last at the end."""

    def __init__(self, rate: ClientRate) -> None:
        self.rate = rate
        self.seen: list[tuple[str, NaiveBucket]] = []

    def try_take(self, host: str, now: float) -> bool:
        found = [bucket for name, bucket in self.seen if name == host]
        bucket = found[0] if found else NaiveBucket(self.rate.rate)
        others = [entry for entry in self.seen if entry[0] != host]
        self.seen = [*others, (host, bucket)][-self.rate.table_size :]
        return bucket.try_take(now)


@given(
    RATES,
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 300)), max_size=150),
)
def test_clients_are_those_of_a_naive_table(
    rate: Rate, size: int, visits: list[tuple[int, int]]
) -> None:
    each = ClientRate(rate, table_size=size)
    table, naive = ClientRates(each), NaiveClients(each)
    now = 0
    for client, step in visits:
        now += step
        host = f"10.0.0.{client}"
        assert table.try_take(host, now * TICK) == naive.try_take(host, now * TICK)
        assert len(table) == len(naive.seen) <= size


def test_each_client_has_a_bucket() -> None:
    table = clients()
    assert table.try_take("10.0.0.1", 5.0)
    assert table.try_take("10.0.0.2", 5.0)
    assert not table.try_take("10.0.0.1", 5.5)
    assert table.try_take("10.0.0.1", 6.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.254", True),
        ("10.0.0.1", "10.0.1.1", False),
        ("10.0.0.1", "::ffff:10.0.0.7", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.1.1", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("no address", "no address", True),
        ("no address", "another", False),
    ],
)
def test_a_network_is_one_client(one: str, other: str, same: bool) -> None:
    table = clients(prefix=24)
    assert table.try_take(one, 5.0)
    assert table.try_take(other, 5.0) != same


def test_the_least_recently_seen_client_goes_and_comes_back_with_a_full_bucket() -> None:
    table = clients(table_size=2)
    assert table.try_take("10.0.0.1", 5.0)
    assert table.try_take("10.0.0.2", 5.0)
    assert not table.try_take("10.0.0.1", 5.0)  # a refused one has been seen too
    assert table.try_take("10.0.0.3", 5.0)
    assert not table.try_take("10.0.0.1", 5.0)
    assert table.try_take("10.0.0.2", 5.0)
    assert len(table) == 2


def test_clients_that_are_refused_need_not_wait_longer_for_that() -> None:
    table = clients()
    assert table.try_take("10.0.0.1", 5.0)
    assert not any(table.try_take("10.0.0.1", 5.0 + number / 1000) for number in range(1000))
    assert table.try_take("10.0.0.1", 6.0)

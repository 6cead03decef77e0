from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from math import gcd

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.policy.backend import Backend
from tcplb.policy.round_robin import RoundRobin
from tests.policy.backends import backend_lists, named, names, weighted

POSITIVE = st.integers(1, 9)


def pick(strategy: RoundRobin, rejected: Collection[str] = ()) -> str:
    """Return the first backend in the order that the caller does not reject."""
    return next(backend.name for backend in strategy.order() if backend.name not in rejected)


def picks(strategy: RoundRobin, count: int, rejected: Collection[str] = ()) -> list[str]:
    return [pick(strategy, rejected) for _ in range(count)]


def nginx(backends: list[Backend], count: int) -> list[str]:
    """Play ngx_http_upstream_get_peer, turn by turn, as its comment describes it."""
    current = {backend.name: 0 for backend in backends}
    chosen = []
    for _ in range(count):
        for backend in backends:
            current[backend.name] += backend.weight
        best = max(backends, key=lambda backend: current[backend.name])  # the first of equals
        current[best.name] -= sum(backend.weight for backend in backends)
        chosen.append(best.name)
    return chosen


def cycle(backends: list[Backend], rejected: Collection[str] = ()) -> dict[str, int]:
    """Return how many turns each backend that is not rejected has in one cycle."""
    divisor = gcd(*(backend.weight for backend in backends))
    return {
        backend.name: backend.weight // divisor
        for backend in backends
        if backend.weight > 0 and backend.name not in rejected
    }


def test_weights_5_1_1_give_the_sequence_of_nginx() -> None:
    strategy = RoundRobin(weighted(a=5, b=1, c=1))
    assert "".join(picks(strategy, 14)) == "aabacaa" * 2


def test_equal_weights_start_with_the_backends_in_the_order_given() -> None:
    strategy = RoundRobin(named("d", "b", "a", "c"))
    assert picks(strategy, 8) == ["d", "b", "a", "c"] * 2


def test_equal_weights_above_1_are_the_same_as_1() -> None:
    assert picks(RoundRobin(weighted(a=7, b=7, c=7)), 6) == list("abcabc")


def test_one_backend_gets_every_turn() -> None:
    assert picks(RoundRobin(weighted(a=200)), 5) == ["a"] * 5


@given(backend_lists(min_size=1, weights=POSITIVE))
@settings(max_examples=100, deadline=None)
def test_the_turns_are_those_of_a_naive_nginx_over_more_than_two_cycles(
    backends: list[Backend],
) -> None:
    count = 2 * sum(backend.weight for backend in backends) + 3
    assert picks(RoundRobin(backends), count) == nginx(backends, count)


@given(backend_lists(min_size=1), st.integers(0, 60))
@settings(max_examples=100, deadline=None)
def test_shares_are_exact_over_one_cycle_wherever_it_starts(
    backends: list[Backend], earlier: int
) -> None:
    turns = cycle(backends)
    strategy = RoundRobin(backends)
    if turns:
        picks(strategy, earlier)
    assert Counter(picks(strategy, sum(turns.values()))) == turns


@given(backend_lists(min_size=2, weights=POSITIVE), st.integers(0, 60), st.data())
@settings(max_examples=100, deadline=None)
def test_what_rejected_backends_lose_the_others_share_by_weight(
    backends: list[Backend], earlier: int, data: st.DataObject
) -> None:
    # A failing backend's neighbour must not gain its whole share.
    rejected = data.draw(st.sets(st.sampled_from(names(backends)), max_size=len(backends) - 1))
    strategy = RoundRobin(backends)
    picks(strategy, earlier)
    turns = cycle(backends, rejected)
    assert Counter(picks(strategy, sum(turns.values()), rejected)) == turns


def test_the_neighbour_of_a_failing_backend_gains_no_more_than_the_others() -> None:
    strategy = RoundRobin(named("a", "b", "c", "d"))
    assert Counter(picks(strategy, 300, rejected="b")) == {"a": 100, "c": 100, "d": 100}


def test_a_session_that_tries_again_takes_the_next_turn_from_everybody_alike() -> None:
    # b refuses every connect but is not ejected: each of its sessions asks again, without it.
    strategy = RoundRobin(named("a", "b", "c", "d"))
    served = Counter(
        name if (name := pick(strategy)) != "b" else pick(strategy, rejected="b")
        for _ in range(300)
    )
    assert served == {"a": 100, "c": 100, "d": 100}


@given(backend_lists(min_size=1), st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_weight_0_is_never_picked(backends: list[Backend], rounds: int) -> None:
    strategy = RoundRobin(backends)
    drained = {backend.name for backend in backends if backend.weight == 0}
    for _ in range(rounds):
        assert drained.isdisjoint(names(strategy.order()))


def test_order_yields_backends_by_their_next_turns() -> None:
    strategy = RoundRobin(weighted(a=5, b=1, c=1))
    assert names(strategy.order()) == ["a", "b", "c"]  # takes the turns a a b a c
    assert names(strategy.order()) == ["a", "b", "c"]  # a a, then from the start


def test_two_sessions_that_are_choosing_at_once_get_different_turns() -> None:
    strategy = RoundRobin(named("a", "b", "c"))
    one, other = strategy.order(), strategy.order()
    assert names([next(one), next(other), next(one)]) == ["a", "b", "c"]


def test_the_key_changes_nothing() -> None:
    strategy = RoundRobin(named("a", "b"))
    assert [next(strategy.order(b"same")).name for _ in range(4)] == ["a", "b", "a", "b"]


def test_the_largest_weights_end() -> None:
    strategy = RoundRobin(weighted(a=256, b=255, c=1, d=0))
    for _ in range(5):
        assert sorted(names(strategy.order())) == ["a", "b", "c"]


def test_shares_are_weights_over_their_sum() -> None:
    shares = RoundRobin(weighted(a=3, b=1, c=0)).shares()
    assert shares == pytest.approx({"a": 0.75, "b": 0.25})

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from fractions import Fraction
from random import Random
from unittest.mock import ANY

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.policy.backend import Backend
from tcplb.policy.least_connections import EXACT, LOOKS, LeastConnections
from tcplb.policy.load import Load
from tcplb.policy.occupancy import LocalOccupancy
from tests.policy.backends import backend_lists, named, names, weighted

POSITIVE = st.integers(1, 9)


class Table:
    """A strategy, and the counts that it goes by, which anybody may change."""

    def __init__(self, backends: list[Backend]) -> None:
        self.backends = backends
        self.occupancy = LocalOccupancy(len(backends))
        self.effective = Load(backends, self.occupancy, range(len(backends)))
        self.strategy = LeastConnections(backends, self.effective)
        self.positions = {backend.name: position for position, backend in enumerate(backends)}

    def enter(self, name: str, times: int = 1) -> None:
        for _ in range(times):
            self.occupancy.try_enter(self.positions[name], 0)

    def leave(self, name: str, times: int = 1) -> None:
        for _ in range(times):
            self.occupancy.leave(self.positions[name])

    def load(self, name: str) -> Fraction:
        position = self.positions[name]
        return Fraction(self.occupancy.active(position), self.backends[position].weight)

    def order(self) -> list[str]:
        return names(self.strategy.order())

    def pick(self, rejected: Collection[str] = ()) -> str:
        """Return the first one in the order that the caller does not reject."""
        return next(one.name for one in self.strategy.order() if one.name not in rejected)


def test_the_one_with_the_fewest_connections_comes_first() -> None:
    table = Table(named("a", "b", "c"))
    table.enter("a", 3)
    table.enter("b", 1)
    table.enter("c", 2)
    assert table.order() == ["b", "c", "a"]


def test_connections_count_by_weight() -> None:
    table = Table(weighted(a=4, b=1))
    table.enter("a", 3)
    table.enter("b", 1)
    assert table.order() == ["a", "b"]
    table.enter("a", 2)
    assert table.order() == ["b", "a"]


def test_a_burst_of_lasting_connections_fills_all_by_weight() -> None:
    table = Table(weighted(a=3, b=1, c=2))
    for _ in range(60):
        table.enter(table.pick())
    assert [table.load(name) for name in "abc"] == [10, 10, 10]


def test_equals_start_with_the_backends_in_the_order_given_and_take_turns() -> None:
    table = Table(named("d", "b", "a", "c"))
    assert [table.pick() for _ in range(12)] == ["d", "b", "a", "c"] * 3


def test_equals_take_turns_by_weight_without_a_long_burst() -> None:
    table = Table(weighted(a=5, b=1, c=1))
    assert "".join(table.pick() for _ in range(14)) == "aaabcaa" * 2


@given(backend_lists(min_size=1, weights=POSITIVE), st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_shares_of_equals_are_by_weight_to_within_one_turn(
    backends: list[Backend], rounds: int
) -> None:
    table = Table(backends)
    turns = rounds * sum(backend.weight for backend in backends)
    counted = Counter(table.pick() for _ in range(turns))
    for backend in backends:
        assert abs(counted[backend.name] - rounds * backend.weight) <= 1


def test_one_that_was_busy_for_long_has_saved_up_one_turn_at_most() -> None:
    table = Table(named("a", "b"))
    table.enter("a")
    assert [table.pick() for _ in range(100)] == ["b"] * 100
    table.leave("a")
    assert [table.pick() for _ in range(8)] == ["a", "a", "b", "a", "b", "a", "b", "a"]


def test_one_that_is_passed_by_has_lost_no_turns() -> None:
    table = Table(named("a", "b", "c"))  # a is ejected, so it has no connection and comes first
    assert Counter(table.pick(rejected="a") for _ in range(100)) == {"b": 50, "c": 50}
    counted = Counter(table.pick() for _ in range(300))
    assert all(99 <= counted[name] <= 101 for name in "abc")


def test_one_that_is_passed_by_does_not_delay_the_turn_of_the_one_taken_instead() -> None:
    table = Table(named("a", "b"))
    table.enter("b")
    assert [table.pick() for _ in range(10)] == ["a"] * 10
    assert table.pick(rejected="a") == "b"
    table.leave("b")
    assert [table.pick() for _ in range(4)] == ["a", "b", "a", "b"]


def test_when_nobody_suits_the_next_order_begins_with_another() -> None:
    table = Table(named("a", "b", "c"))
    first = [table.order()[0] for _ in range(6)]
    assert first == ["a", "b", "c"] * 2


def test_weight_0_is_never_given_whatever_its_position() -> None:
    table = Table(weighted(drained=0, a=1, b=1))
    table.enter("a")
    assert table.order() == ["b", "a"]


@pytest.mark.parametrize("others", [0, EXACT - 1, 5 * EXACT])
def test_whoever_has_become_busier_is_never_given_for_what_it_was(others: int) -> None:
    table = Table(named("a", *(f"b{number}" for number in range(others)), "last"))
    assert table.pick() == "a"
    for backend in table.backends[:-1]:
        table.enter(backend.name)
    assert table.pick() == "last"


@pytest.mark.parametrize("size", [2, EXACT, EXACT + 1, 10 * EXACT])
def test_one_that_has_become_less_busy_is_noticed_when_all_have_been_looked_at(size: int) -> None:
    table = Table(named(*(f"b{number}" for number in range(size))))
    for backend in table.backends:
        table.enter(backend.name, 2)
    table.order()
    table.leave(f"b{size // 2}", 2)
    orders = 1 if size <= EXACT else -(-size // LOOKS)
    assert f"b{size // 2}" in [table.order()[0] for _ in range(orders)]


@given(
    backend_lists(min_size=1, max_size=EXACT),
    st.lists(st.tuples(st.booleans(), st.integers(0, EXACT - 1)), max_size=60),
)
@settings(max_examples=150, deadline=None)
def test_up_to_a_few_backends_the_order_is_exact_whoever_changes_the_counts(
    backends: list[Backend], changes: list[tuple[bool, int]]
) -> None:
    table = Table(backends)
    for enters, number in changes:
        name = backends[number % len(backends)].name
        if enters:
            table.enter(name)
        elif table.occupancy.active(table.positions[name]):
            table.leave(name)
        loads = [table.load(one) for one in table.order()]
        assert loads == sorted(loads)
        assert len(loads) == sum(backend.weight > 0 for backend in backends)


@given(st.integers(EXACT + 1, 40), st.data())
@settings(max_examples=50, deadline=None)
def test_with_many_backends_every_order_is_whole_and_ends(size: int, data: st.DataObject) -> None:
    table = Table(named(*(f"b{number}" for number in range(size))))
    everybody = sorted(names(table.backends))
    some = st.lists(st.integers(0, size - 1), max_size=20)
    for _ in range(10):
        for number in data.draw(some):
            table.enter(f"b{number}")
        for number in data.draw(some):
            if table.occupancy.active(number):
                table.leave(f"b{number}")
        assert sorted(table.order()) == everybody
        table.pick(rejected={f"b{number}" for number in data.draw(some)} - {"b0"})


def test_a_thousand_backends_that_come_and_go_stay_even() -> None:
    size, open_at_once = 1000, 5000
    table = Table(named(*(f"b{number}" for number in range(size))))
    sessions: list[str] = []
    for _ in range(3 * open_at_once):
        name = table.pick()
        table.enter(name)
        sessions.append(name)
        if len(sessions) > open_at_once:
            table.leave(sessions.pop(0))
    loads = sorted(table.load(backend.name) for backend in table.backends)
    assert loads[0] >= 4
    assert loads[-1] <= 6


def test_what_is_kept_does_not_grow_with_the_traffic() -> None:
    table = Table(named("a", "b", "c"))
    for name in "abc":
        table.enter(name, 5)
    rng = Random(1)
    for _ in range(1000):
        table.leave(rng.choice([name for name in "abc" if table.load(name)]))
        table.enter(table.pick())
    assert len(table.strategy._heap) <= 3 * len(table.backends)


@pytest.mark.parametrize("others", [1, EXACT, 3 * EXACT])
def test_the_effective_weight_counts_in_the_load(others: int) -> None:
    table = Table(named("a", *(f"b{number}" for number in range(others))))
    for backend in table.backends:
        table.enter(backend.name, 3)
    table.effective.weights[0] = 0.5
    assert "a" not in {table.pick() for _ in range(others)}
    table.effective.weights[0] = 4.0
    orders = 1 + -(-(others + 1) // LOOKS)
    assert "a" in [table.pick() for _ in range(orders)]


def test_equals_take_turns_by_their_effective_weights() -> None:
    table = Table(named("a", "b", "c"))
    table.effective.weights[0] = 0.1
    counted = Counter(table.pick() for _ in range(210))
    assert counted == {"a": pytest.approx(10, abs=1), "b": pytest.approx(100, abs=1), "c": ANY}


@pytest.mark.parametrize("others", [1, EXACT, 3 * EXACT])
def test_a_turn_given_at_a_small_weight_does_not_hold_back_one_that_has_come_back(
    others: int,
) -> None:
    table = Table(named("a", *(f"b{number}" for number in range(others))))
    table.effective.weights[0] = 0.001
    for _ in range(2000):
        table.pick()
    table.effective.weights[0] = 1.0
    counted = Counter(table.pick() for _ in range(20 * (others + 1)))
    assert 16 <= counted["a"] <= 21


def test_two_orders_begun_at_once_begin_with_different_backends() -> None:
    table = Table(named("a", "b", "c"))
    one, other = table.strategy.order(), table.strategy.order()
    assert names([next(one), next(other)]) == ["a", "b"]


@pytest.mark.parametrize("backends", [[], weighted(a=0), weighted(a=0, b=0)], ids=str)
def test_nobody_is_yielded_when_nobody_has_a_weight(backends: list[Backend]) -> None:
    table = Table(backends)
    assert table.order() == []
    assert table.strategy.shares() == {}


def test_one_backend_is_always_the_one() -> None:
    table = Table(named("a"))
    table.enter("a", 3)
    assert [table.order() for _ in range(3)] == [["a"]] * 3


def test_shares_are_weights_over_their_sum() -> None:
    shares = Table(weighted(a=3, b=1, c=0)).strategy.shares()
    assert shares == pytest.approx({"a": 0.75, "b": 0.25})

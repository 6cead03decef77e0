from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.policy.occupancy import LocalOccupancy, Occupancy


def test_nobody_is_in_at_first() -> None:
    occupancy: Occupancy = LocalOccupancy(3)
    assert [occupancy.active(position) for position in range(3)] == [0, 0, 0]


def test_each_position_is_counted_on_its_own() -> None:
    occupancy = LocalOccupancy(2)
    assert occupancy.try_enter(1, 0)
    assert occupancy.try_enter(1, 0)
    occupancy.leave(1)
    assert [occupancy.active(0), occupancy.active(1)] == [0, 1]


def test_at_the_limit_nobody_enters_and_nothing_is_counted() -> None:
    occupancy = LocalOccupancy(1)
    assert [occupancy.try_enter(0, 2) for _ in range(4)] == [True, True, False, False]
    assert occupancy.active(0) == 2
    occupancy.leave(0)
    assert occupancy.try_enter(0, 2)


def test_a_limit_that_has_been_lowered_holds_for_those_who_come() -> None:
    occupancy = LocalOccupancy(1)
    for _ in range(5):
        assert occupancy.try_enter(0, 0)
    assert not occupancy.try_enter(0, 3)
    assert occupancy.active(0) == 5


@given(limit=st.integers(0, 3), steps=st.lists(st.booleans(), max_size=30))
@settings(max_examples=100, deadline=None)
def test_the_count_is_of_those_who_entered_and_have_not_left(limit: int, steps: list[bool]) -> None:
    occupancy = LocalOccupancy(1)
    inside = 0
    for enters in steps:
        if enters:
            entered = occupancy.try_enter(0, limit)
            assert entered == (limit == 0 or inside < limit)
            inside += entered
        elif inside:
            occupancy.leave(0)
            inside -= 1
        assert occupancy.active(0) == inside


def test_a_counter_always_gives_the_count_of_its_position() -> None:
    occupancy = LocalOccupancy(2)
    first, second = occupancy.counter(0), occupancy.counter(1)
    occupancy.try_enter(1, 0)
    assert (first(), second()) == (0, 1)
    occupancy.try_enter(1, 0)
    occupancy.try_enter(0, 0)
    assert (first(), second()) == (1, 2)
    occupancy.leave(1)
    assert (first(), second()) == (1, 1)

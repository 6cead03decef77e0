from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tcplb.control.numbering import Numbering, Numbers
from tcplb.errors import ChangeError


def numbers(*things: str, capacity: int = 5) -> Numbers:
    made = Numbers("backends", capacity)
    made.assign(things)
    return made


def test_things_get_numbers_from_0() -> None:
    made = numbers("a", "b", "a")
    assert made.in_use == {"a": 0, "b": 1}
    assert (made["b"], made.top, made.leaving) == (1, 2, {})


def test_what_stays_keeps_its_number_in_whatever_order() -> None:
    made = numbers("a", "b")
    made.assign(["c", "b", "a"])
    assert made.in_use == {"a": 0, "b": 1, "c": 2}


def test_a_number_that_is_leaving_is_nobody_elses() -> None:
    made = numbers("a", "b")
    made.assign(["b", "c"])
    assert (made.in_use, made.leaving) == ({"b": 1, "c": 2}, {"a": 0})
    with pytest.raises(KeyError):
        made["a"]


def test_what_comes_back_before_its_number_is_free_has_it_again() -> None:
    made = numbers("a", "b")
    made.assign(["b"])
    made.assign(["c", "a"])
    assert (made.in_use, made.leaving) == ({"a": 0, "c": 2}, {"b": 1})


def test_a_number_that_is_free_goes_to_the_next_one_the_lowest_first() -> None:
    made = numbers("a", "b", "c")
    made.assign(["b"])
    for number in (2, 0):
        made.free(number)
    assert made.leaving == {}
    made.assign(["b", "a", "d", "e"])
    assert made.in_use == {"b": 1, "a": 0, "d": 2, "e": 3}
    assert made.top == 4


def test_those_that_leave_take_up_room_and_that_is_said() -> None:
    made = numbers("a", "b", capacity=2)
    made.assign(["a"])
    with pytest.raises(ChangeError) as raised:
        made.copy().assign(["a", "c"])
    assert str(raised.value) == (
        "there is room for 2 backends, those that are being drained included: restart to have more"
    )
    made.free(1)
    made.assign(["a", "c"])
    assert made["c"] == 1


def test_a_copy_is_changed_without_the_first_one() -> None:
    made = numbers("a", "b", "c")
    made.assign(["a", "b"])
    copy = made.copy()
    copy.free(2)
    copy.assign(["x", "y"])
    assert (made.in_use, made.leaving, made.top) == ({"a": 0, "b": 1}, {"c": 2}, 3)
    made.assign(["a", "b", "d"])
    assert made["d"] == 3


def test_a_copy_of_all_is_changed_without_the_first_ones() -> None:
    first = Numbering(*(Numbers(kind, 3) for kind in ("a", "b", "c", "d", "e")))
    copy = first.copy()
    for each in copy.each():
        each.assign(["x"])
    assert [each.in_use for each in first.each()] == [{}] * 5
    assert [each.kind for each in copy.each()] == ["a", "b", "c", "d", "e"]


@given(st.lists(st.lists(st.integers(0, 9), max_size=9), max_size=12))
def test_nobody_shares_a_number(plans: list[list[int]]) -> None:
    made = Numbers("things", 10)
    for things in plans:
        made.assign(things)
        assert set(made.in_use) == set(things)
        given_away = [*made.in_use.values(), *made.leaving.values()]
        assert sorted(given_away) == sorted(set(given_away))
        assert all(number < made.top <= 10 for number in given_away)


class Over(RuleBasedStateMachine):
    """Things come and go, and numbers are freed now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = Numbers("things", 8)
        self.known: dict[object, int] = {}

    @rule(things=st.sets(st.integers(0, 12), max_size=8))
    def assign(self, things: set[int]) -> None:
        room = 8 - len(set(self.numbers.leaving) - things)
        copy = self.numbers.copy()
        stay = len(things & (set(self.numbers.in_use) | set(self.numbers.leaving)))
        others = len((set(self.numbers.in_use) | set(self.numbers.leaving)) - things)
        if others + len(things) > 8:
            with pytest.raises(ChangeError):
                copy.assign(things)
            return
        assert stay <= room
        copy.assign(things)
        self.numbers = copy

    @precondition(lambda self: self.numbers.leaving)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        thing = data.draw(st.sampled_from(sorted(self.numbers.leaving, key=str)))
        self.numbers.free(self.numbers.leaving[thing])
        del self.known[thing]

    @invariant()
    def what_is_known_keeps_its_number(self) -> None:
        now = self.numbers.in_use | self.numbers.leaving
        assert len(set(now.values())) == len(now)
        for thing, number in self.known.items():
            assert now[thing] == number
        self.known = dict(now)


TestOver = Over.TestCase

"""The limit on connections, with an injected clock."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.dataplane.counters import Counters
from tcplb.dataplane.gate import Gate


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def never() -> None:
    raise AssertionError("nobody was to be resumed")


def test_lets_in_as_many_as_the_limit() -> None:
    counters = Counters()
    gate = Gate(3, counters, Clock())
    assert [gate.try_enter(never) for _ in range(3)] == [True] * 3
    assert counters.pauses == 0


def test_the_next_one_is_resumed_when_one_leaves() -> None:
    counters = Counters()
    gate = Gate(1, counters, Clock())
    resumed: list[str] = []
    assert gate.try_enter(never)
    assert not gate.try_enter(lambda: resumed.append("first listener"))
    assert not gate.try_enter(lambda: resumed.append("second listener"))
    assert counters.pauses == 2
    assert resumed == []
    gate.leave()
    assert resumed == ["first listener", "second listener"]
    assert gate.try_enter(never)
    gate.leave()
    assert len(resumed) == 2  # each is told once


def test_who_fails_again_on_being_resumed_waits_again() -> None:
    gate = Gate(1, Counters(), Clock())
    calls: list[bool] = []

    def resume() -> None:
        calls.append(gate.try_enter(resume))

    assert gate.try_enter(never)
    gate.try_enter(resume)
    gate.try_enter(resume)
    gate.leave()
    assert calls == [True, False]
    gate.leave()
    assert calls == [True, False, True]


def test_limit_of_none() -> None:
    gate = Gate(0, Counters(), Clock())
    assert not gate.try_enter(never)


class SharedSeats:
    """Seats that others may take and give back."""

    def __init__(self, free: int) -> None:
        self.free = free

    def try_take(self) -> bool:
        if self.free == 0:
            return False
        self.free -= 1
        return True

    def give_back(self) -> None:
        self.free += 1

    def adopt(self, places: int) -> None:
        self.free -= places


async def test_whoever_is_let_in_needs_a_seat_too_and_gives_it_back() -> None:
    seats = SharedSeats(2)
    gate = Gate(5, Counters(), Clock(), seats)
    assert [gate.try_enter(never), gate.try_enter(never)] == [True, True]
    assert not gate.try_enter(lambda: None)
    gate.leave()
    assert seats.free == 1


async def test_no_seat_is_taken_by_one_that_the_limit_keeps_out() -> None:
    seats = SharedSeats(2)
    gate = Gate(1, Counters(), Clock(), seats)
    assert gate.try_enter(never)
    assert not gate.try_enter(lambda: None)
    assert seats.free == 1


async def test_a_seat_that_another_process_gives_back_is_found() -> None:
    seats = SharedSeats(0)
    counters = Counters()
    gate = Gate(5, counters, Clock(), seats)
    resumed = asyncio.Event()
    assert not gate.try_enter(resumed.set)
    assert not gate.try_enter(lambda: None)
    seats.give_back()  # nobody tells the gate
    await asyncio.wait_for(resumed.wait(), 10)
    assert gate.try_enter(never)
    assert counters.pauses == 2  # looking is no pause


def test_says_so_once_a_second_at_most(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    gate = Gate(0, Counters(), clock)
    for clock.now in (100.0, 100.0, 100.5, 100.999):
        gate.try_enter(never)
    assert caplog.messages == [
        "max_connections reached (0): accepting pauses, clients wait in the backlog"
    ]
    for clock.now in (101.0, 101.9, 102.0):
        gate.try_enter(never)
    assert len(caplog.messages) == 3


# -- a listener's gate inside the process's ------------------------------------------------------


def nested(own: int, whole: int, seats: SharedSeats | None = None) -> tuple[Gate, Gate, Counters]:
    counters = Counters()
    process = Gate(whole, counters, Clock())
    return (
        Gate(own, counters, Clock(), seats, name="listener web", parent=process),
        process,
        counters,
    )


def test_a_listener_at_its_limit_leaves_room_to_others(caplog: pytest.LogCaptureFixture) -> None:
    web, process, counters = nested(own=1, whole=3)
    api = Gate(5, counters, Clock(), name="listener api", parent=process)
    resumed: list[str] = []
    assert web.try_enter(never)
    assert not web.try_enter(lambda: resumed.append("web"))
    assert [api.try_enter(never), process.try_enter(never)] == [True, True]
    assert caplog.messages == [
        "listener web: max_connections reached (1): accepting pauses, clients wait in the backlog"
    ]
    process.leave()
    api.leave()
    assert resumed == []
    web.leave()
    assert resumed == ["web"]
    assert counters.pauses == 1


def test_at_the_limit_of_the_process_no_place_of_the_listener_is_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seats = SharedSeats(2)
    web, process, counters = nested(own=2, whole=1, seats=seats)
    resumed: list[str] = []
    assert process.try_enter(never)
    assert not web.try_enter(lambda: resumed.append("web"))
    assert not web.try_enter(lambda: resumed.append("web again"))
    assert not web.try_enter(lambda: resumed.append("web a third time"))
    assert seats.free == 2
    assert counters.pauses == 3
    assert caplog.messages == [
        "max_connections reached (1): accepting pauses, clients wait in the backlog"
    ]
    process.leave()
    assert resumed == ["web", "web again", "web a third time"]
    assert web.try_enter(never)
    assert seats.free == 1


def test_leaving_makes_room_at_both() -> None:
    web, process, counters = nested(own=1, whole=1)
    assert web.try_enter(never)
    resumed: list[str] = []
    assert not web.try_enter(lambda: resumed.append("at its own"))
    assert not process.try_enter(lambda: resumed.append("at the process's"))
    web.leave()
    assert sorted(resumed) == ["at its own", "at the process's"]
    assert web.try_enter(never)
    assert counters.pauses == 2


def test_who_takes_the_place_of_the_process_on_being_resumed_is_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    web, _, _ = nested(own=2, whole=1)
    entered: list[bool] = []
    assert web.try_enter(never)
    assert not web.try_enter(lambda: entered.append(web.try_enter(never)))
    web.leave()
    assert entered == [True]
    assert "listener web" not in caplog.text


async def test_seats_of_a_listener_that_another_process_gives_back_are_found() -> None:
    seats = SharedSeats(0)
    web, _, _ = nested(own=5, whole=5, seats=seats)
    resumed = asyncio.Event()
    assert not web.try_enter(resumed.set)
    seats.give_back()
    await asyncio.wait_for(resumed.wait(), 10)
    assert web.try_enter(never)


@given(st.lists(st.sampled_from(["enter web", "enter api", "leave web", "leave api"])))
def test_gates_count_as_a_pair_of_numbers_does(steps: list[str]) -> None:
    counters = Counters()
    process = Gate(3, counters, Clock())
    gates = {name: Gate(2, counters, Clock(), name=name, parent=process) for name in ("web", "api")}
    inside = {"web": 0, "api": 0}
    for step in steps:
        verb, name = step.split()
        if verb == "enter":
            room = inside[name] < 2 and sum(inside.values()) < 3
            assert gates[name].try_enter(lambda: None) == room
            inside[name] += room
        elif inside[name]:
            gates[name].leave()
            inside[name] -= 1


# -- another limit -------------------------------------------------------------------------------


def test_another_limit_holds_at_once_and_whoever_is_in_stays() -> None:
    gate = Gate(2, Counters(), Clock())
    resumed: list[str] = []
    assert [gate.try_enter(never), gate.try_enter(never)] == [True, True]
    assert not gate.try_enter(lambda: resumed.append("more"))
    gate.change(3, None)
    assert resumed == ["more"]
    assert gate.try_enter(never)
    gate.change(1, None)
    for _ in range(2):
        gate.leave()
        assert not gate.try_enter(lambda: None)
    gate.leave()
    assert gate.try_enter(lambda: None)


async def test_those_who_are_in_have_seats_from_now_on_and_give_them_back() -> None:
    gate = Gate(5, Counters(), Clock())
    assert [gate.try_enter(never) for _ in range(3)] == [True] * 3
    seats = SharedSeats(4)
    gate.change(5, seats)
    assert seats.free == 1
    gate.leave()
    assert seats.free == 2
    gate.change(5, None)
    assert seats.free == 4
    gate.leave()
    gate.leave()
    assert seats.free == 4


async def test_other_seats_of_the_same_count_are_not_taken_again() -> None:
    """The new ones count in the same cells: only their limit is another."""
    seats, others = SharedSeats(4), SharedSeats(4)
    gate = Gate(5, Counters(), Clock(), seats)
    assert gate.try_enter(never)
    gate.change(5, others)
    assert (seats.free, others.free) == (3, 4)
    gate.leave()
    assert others.free == 5


async def test_it_looks_for_seats_by_the_new_limit() -> None:
    gate = Gate(5, Counters(), Clock(), SharedSeats(0))
    resumed = asyncio.Event()
    assert not gate.try_enter(lambda: None)  # it looks for one of these from now on
    others = SharedSeats(0)
    gate.change(5, others)
    assert not gate.try_enter(resumed.set)
    others.free = 1
    await asyncio.wait_for(resumed.wait(), 10)
    assert gate.try_enter(never)


async def test_without_seats_it_looks_for_none_any_more() -> None:
    seats = SharedSeats(0)
    gate = Gate(1, Counters(), Clock(), seats)
    resumed: list[bool] = []
    assert not gate.try_enter(lambda: resumed.append(gate.try_enter(never)))
    gate.change(1, None)
    assert resumed == [True]
    seats.free = -5
    assert not gate.try_enter(lambda: resumed.append(gate.try_enter(never)))
    gate.leave()
    assert resumed == [True, True]

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.control.events import EVENT_CELLS, EVENTS, Event, Events
from tcplb.control.scoreboard import Layout, Scoreboard

LONGEST = 224
"""Bytes of a text."""


def cells() -> memoryview:
    return memoryview(bytearray(EVENT_CELLS * 8)).cast("q")


def filled(count: int) -> Events:
    events = Events(cells())
    for number in range(1, count + 1):
        events.add(number, number / 8, number % 7, f"change {number}")
    return events


def numbers(events: Events, after: int = 0) -> list[int]:
    return [event.number for event in events.after(after)]


def text_of(text: str) -> str:
    events = Events(cells())
    events.add(1, 0.0, 0, text)
    [event] = events.after(0)
    return event.text


def test_at_first_there_are_none() -> None:
    assert Events(cells()).after(0) == []


def test_an_event_is_read_as_it_was_written() -> None:
    events = Events(cells())
    events.add(1, 1700000000.123, 5, "pool web: backend b1 is back")
    assert events.after(0) == [Event(1, 1700000000.123, 5, "pool web: backend b1 is back")]


def test_they_come_in_order_the_oldest_first() -> None:
    assert numbers(filled(20)) == list(range(1, 21))


def test_only_those_after_a_number_are_returned() -> None:
    events = filled(20)
    assert numbers(events, 17) == [18, 19, 20]
    assert numbers(events, 20) == []
    assert numbers(events, 1000) == []


def test_a_backend_that_is_not_in_the_plan_has_the_position_minus_1() -> None:
    events = Events(cells())
    events.add(1, 0.0, -1, "x")
    assert [event.position for event in events.after(0)] == [-1]


@pytest.mark.parametrize("count", [EVENTS - 1, EVENTS, EVENTS + 1, 3 * EVENTS + 7])
def test_of_more_than_there_are_places_for_the_latest_stay(count: int) -> None:
    events = filled(count)
    assert numbers(events) == list(range(max(1, count - EVENTS + 1), count + 1))
    assert all(
        event == Event(event.number, event.number / 8, event.number % 7, f"change {event.number}")
        for event in events.after(0)
    )


def test_a_shorter_text_leaves_nothing_of_the_longer_one_that_it_replaces() -> None:
    events = Events(cells())
    events.add(1, 0.0, 0, "a" * 200)
    events.add(1 + EVENTS, 0.0, 0, "b")
    assert [event.text for event in events.after(0)] == ["b"]


def test_a_text_has_room_for_224_bytes() -> None:
    assert text_of("x" * LONGEST) == "x" * LONGEST
    assert text_of("x" * 1000) == "x" * LONGEST
    assert text_of("") == ""


def test_a_long_text_stays_in_its_place() -> None:
    events = Events(cells())
    events.add(2, 0.0, 0, "second")
    events.add(1, 0.0, 0, "x" * 5000)
    events.add(EVENTS, 0.0, 0, "y" * 5000)  # the last place: there is nothing behind it
    assert [event.text for event in events.after(0)] == ["x" * LONGEST, "second", "y" * LONGEST]


@pytest.mark.parametrize("letter", ["é", "€", "😀"])
@pytest.mark.parametrize("before", range(4))
def test_a_text_is_cut_between_two_letters(letter: str, before: int) -> None:
    text = "x" * before + letter * 150
    read = text_of(text)
    assert text.startswith(read)
    assert LONGEST - len(letter.encode()) < len(read.encode()) <= LONGEST


@given(st.text(max_size=300))
def test_any_text_is_cut_to_what_fits(text: str) -> None:
    read = text_of(text)
    assert text.startswith(read)
    assert read == text or len(read.encode()) > LONGEST - 4


def test_what_cannot_be_encoded_is_no_reason_to_fail() -> None:
    assert text_of("half of a pair: \ud83d") == "half of a pair: ?"


def test_one_that_is_being_written_is_left_out() -> None:
    memory = cells()
    events = Events(memory)
    events.add(1, 0.0, 0, "first")
    events.add(2, 0.0, 0, "second")
    memory[0] = 0  # as while the next one in that place is written
    assert numbers(events) == [2]


def test_whoever_maps_the_scoreboard_reads_them() -> None:
    board = Scoreboard.create(2, Layout(3))
    other = Scoreboard(board.descriptor, 2, Layout(3))
    Events(board.events()).add(1, 2.5, 1, "seen")
    assert Events(other.events()).after(0) == [Event(1, 2.5, 1, "seen")]
    board.close()


# -- a reader and the writer at once ----------------------------------------------------------

OLD = Event(1, 1.0, 1, "the old one")
NEW = Event(1 + EVENTS, 2.0, 2, "the new one, in its place")


class Interrupted:
    """Memory at whose accesses something else happens first."""

    def __init__(self, memory: memoryview, before: Callable[[], None]) -> None:
        self.memory = memory
        self.before = before

    def cast(self, code: Any) -> Interrupted:
        return Interrupted(self.memory.cast(code), self.before)

    def __getitem__(self, key: Any) -> Any:
        self.before()
        return self.memory[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.before()
        self.memory[key] = value


class Interruption:
    """Happens at the access of one number, if there are so many."""

    def __init__(self, number: int, happens: Callable[[], object]) -> None:
        self.left = number
        self.happens = happens
        self.result: object = None

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.result = self.happens()


def add(events: Events, event: Event) -> None:
    events.add(event.number, event.time, event.position, event.text)


def interrupted(memory: memoryview, interruption: Interruption) -> Events:
    return Events(cast(memoryview, Interrupted(memory, interruption)))


@pytest.mark.parametrize("access", range(1, 8))
def test_who_reads_while_one_is_replaced_sees_no_half_of_it(access: int) -> None:
    memory = cells()
    reader = Events(memory)
    add(reader, OLD)
    interruption = Interruption(access, lambda: reader.after(0))
    add(interrupted(memory, interruption), NEW)
    assert interruption.result in ([OLD], [], [NEW], None)
    assert reader.after(0) == [NEW]


@pytest.mark.parametrize("access", range(1, 8))
def test_one_that_is_replaced_while_it_is_read_is_not_seen_by_half(access: int) -> None:
    memory = cells()
    writer = Events(memory)
    add(writer, OLD)
    interruption = Interruption(access, lambda: add(writer, NEW))
    assert interrupted(memory, interruption).after(0) in ([OLD], [], [NEW])

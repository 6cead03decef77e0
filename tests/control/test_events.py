from __future__ import annotations

import asyncio

import pytest

from tcplb.control.events import KEPT, Event, Events


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 0.5
        return self.now


def filled(count: int) -> Events:
    events = Events(Clock())
    for number in range(1, count + 1):
        events.add("health", f"change {number}")
    return events


def numbers(events: Events, after: int = 0) -> list[int]:
    return [event.number for event in events.after(after)]


def test_at_first_there_are_none() -> None:
    assert Events().after(0) == []


def test_an_event_says_when_it_was_and_whom_it_is_about() -> None:
    events = Events(Clock())
    events.add("reload", "reloaded: no changes")
    events.add("health", "pool web: backend b1 is back", pool="web", backend="b1")
    assert events.after(0) == [
        Event(1, 1000.5, "reload", "reloaded: no changes"),
        Event(2, 1001.0, "health", "pool web: backend b1 is back", "web", "b1"),
    ]


def test_only_those_after_a_number_are_returned() -> None:
    events = filled(20)
    assert numbers(events) == list(range(1, 21))
    assert numbers(events, 17) == [18, 19, 20]
    assert numbers(events, 20) == []
    assert numbers(events, 1000) == []


@pytest.mark.parametrize("count", [KEPT - 1, KEPT, KEPT + 1, 3 * KEPT + 7])
def test_the_latest_are_kept(count: int) -> None:
    assert numbers(filled(count)) == list(range(max(1, count - KEPT + 1), count + 1))


async def test_one_that_is_there_already_is_not_waited_for() -> None:
    events = filled(3)
    await events.wait(2)


async def test_all_who_wait_are_woken_by_the_next_one() -> None:
    events = filled(3)
    waiting = [asyncio.create_task(events.wait(3)) for _ in range(3)]
    later = asyncio.create_task(events.wait(4))
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    events.add("worker", "worker 1 starts")
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)
    assert not later.done()
    events.add("worker", "worker 2 starts")
    async with asyncio.timeout(10):
        await later

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.control.answering import AT_A_TIME, answer, close_slowly
from tcplb.control.inquiries import (
    CloseBackend,
    CloseSession,
    Found,
    ListSessions,
    SessionFacts,
    SessionFilter,
)
from tcplb.dataplane.record import Record
from tcplb.dataplane.session import Session
from tcplb.dataplane.termination import Phase, Termination
from tests.records import RECORD

ANY = SessionFilter()
CLOSE = CloseBackend("web", "b1", window=0.0)


class FakeSession:
    """As much of a session as is asked for."""

    def __init__(self, number: int, backend: str | None = "b1", **record: Any) -> None:
        self.number = number
        self.looks = 0
        self.closed: list[Termination] = []
        self.phase = Phase.DATA
        self.moved = (number, 2 * number)
        self.on_close: Callable[[], None] = lambda: None
        self.lease = None
        if backend is not None:
            self.lease = SimpleNamespace(backend=SimpleNamespace(name=backend))
        self._record = replace(RECORD, accepted_at=float(number), **record)

    @property
    def record(self) -> Record:
        self.looks += 1
        return self._record

    def cancel(self, why: Termination) -> None:
        self.closed.append(why)
        self.on_close()


def some(*sessions: FakeSession) -> dict[int, Session]:
    return {session.number: cast("Session", session) for session in sessions}


def many(number: int) -> list[FakeSession]:
    return [FakeSession(each) for each in range(1, number + 1)]


def goes_on() -> bool:
    return True


async def found(
    sessions: dict[int, Session],
    wanted: SessionFilter = ANY,
    after: tuple[float, int] | None = None,
    limit: int = 1000,
) -> Found:
    answered = await answer(ListSessions(wanted, after, limit), sessions)
    assert isinstance(answered, Found)
    return answered


def numbers(answered: Found) -> list[int]:
    return [each.number for each in answered.sessions]


# -- which there are --------------------------------------------------------------------------


async def test_the_facts_of_a_session() -> None:
    (facts,) = (await found(some(FakeSession(7, client_host="::1", key=b"/x")))).sessions
    assert facts == SessionFacts(7.0, 7, "::1", 51234, "web", "web", "b1", "data", 7, 14, b"/x")


async def test_phases_have_names_and_there_may_be_no_backend() -> None:
    sessions = [FakeSession(each, None) for each in range(4)]
    phases = (Phase.READING, Phase.QUEUED, Phase.CONNECTING, Phase.DATA)
    for session, phase in zip(sessions, phases, strict=True):
        session.phase = phase
    facts = (await found(some(*sessions))).sessions
    assert [each.phase for each in facts] == ["reading", "queued", "connecting", "data"]
    assert [each.backend for each in facts] == [None] * 4


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (ANY, [1, 2, 3, 4]),
        (SessionFilter(listener="side"), [2]),
        (SessionFilter(pool="other"), [3]),
        (SessionFilter(backend="b1"), [1, 2, 3]),
        (SessionFilter(backend="b2"), []),
        (SessionFilter(client="127.0.0.1"), [1, 2, 3]),
        (SessionFilter(client="10.0.0.0/8"), [4]),
        (SessionFilter(client="10.0.0.1/8"), [4]),
        (SessionFilter(client="10.0.0.0/8", backend="b1"), []),
    ],
)
async def test_only_those_that_are_wanted(wanted: SessionFilter, expected: list[int]) -> None:
    sessions = some(
        FakeSession(1),
        FakeSession(2, listener="side"),
        FakeSession(3, pool="other"),
        FakeSession(4, None, client_host="10.1.2.3"),
    )
    answered = await found(sessions, wanted)
    assert (numbers(answered), answered.total) == (expected, len(expected))


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 7))
def test_pages_have_all_in_order_once(instants: list[int], limit: int) -> None:
    sessions = [FakeSession(number) for number in range(len(instants))]
    for session, instant in zip(sessions, instants, strict=True):
        session._record.accepted_at = float(instant)  # clocks may be set back
    expected = sorted((float(instant), number) for number, instant in enumerate(instants))

    async def read() -> list[tuple[float, int]]:
        seen: list[tuple[float, int]] = []
        after = None
        while True:
            page = await found(some(*sessions), after=after, limit=limit)
            assert page.total == len(instants)
            assert len(page.sessions) <= limit
            if not page.sessions:
                return seen
            seen += [(each.accepted_at, each.number) for each in page.sessions]
            after = seen[-1]

    assert asyncio.run(read()) == expected


async def test_more_than_are_looked_at_at_once_come_in_order() -> None:
    sessions = some(*reversed(many(3 * AT_A_TIME + 1)))
    answered = await found(sessions, limit=5)
    assert (numbers(answered), answered.total) == ([1, 2, 3, 4, 5], 3 * AT_A_TIME + 1)
    answered = await found(sessions, after=(AT_A_TIME - 2.0, AT_A_TIME - 2), limit=4)
    assert numbers(answered) == [AT_A_TIME + each for each in (-1, 0, 1, 2)]


# -- others have their turn -------------------------------------------------------------------


@pytest.mark.parametrize("question", [ListSessions(ANY, None, 10), CLOSE])
async def test_others_have_their_turn_after_some(question: ListSessions | CloseBackend) -> None:
    sessions = many(4 * AT_A_TIME)
    looked: list[int] = []

    def look_on() -> None:
        looked.append(sum(session.looks > 0 for session in sessions))
        asyncio.get_running_loop().call_soon(look_on)

    look_on()
    await answer(question, some(*sessions))
    steps = [after - before for before, after in pairwise(looked)]
    assert max(steps) <= AT_A_TIME
    assert looked[-1] >= 3 * AT_A_TIME


async def test_others_have_most_of_the_time() -> None:
    """Who looks on has many turns, not one, for each bit of work: it is done by sleeping."""
    sessions = many(4 * AT_A_TIME)
    idle = 0

    async def look_on() -> None:
        nonlocal idle
        while True:
            before = sum(session.looks > 0 for session in sessions)
            await asyncio.sleep(0)
            idle += before == sum(session.looks > 0 for session in sessions)

    looking = asyncio.ensure_future(look_on())
    await found(some(*sessions), SessionFilter(client="10.0.0.0/8"))
    looking.cancel()
    assert idle > 8


async def test_sessions_may_end_and_begin_meanwhile() -> None:
    fakes = many(2 * AT_A_TIME)
    sessions = some(*fakes)
    asking = asyncio.ensure_future(found(sessions))
    await asyncio.sleep(0)  # the first ones were looked at
    del sessions[1]
    del sessions[2 * AT_A_TIME]
    sessions.update(some(FakeSession(9999)))
    answered = await asking
    assert numbers(answered) == list(range(2, 2 * AT_A_TIME))


# -- closing ----------------------------------------------------------------------------------


async def test_one_is_closed_by_its_number() -> None:
    fakes = many(3)
    assert await answer(CloseSession(2), some(*fakes)) is True
    assert await answer(CloseSession(4), some(*fakes)) is False
    assert [fake.closed for fake in fakes] == [[], [Termination.CLOSED], []]


async def test_the_answer_is_how_many_there_are_to_close() -> None:
    fakes = [FakeSession(1), FakeSession(2, "b2"), FakeSession(3), FakeSession(4, pool="other")]
    assert await answer(CLOSE, some(*fakes)) == 2
    assert not any(fake.closed for fake in fakes)


async def test_those_of_a_backend_are_closed_in_order_and_others_are_not() -> None:
    order: list[int] = []
    fakes = [FakeSession(1), FakeSession(2, "b2"), FakeSession(3), FakeSession(4, None)]
    for fake in fakes:
        fake.on_close = lambda number=fake.number: order.append(number)  # type: ignore[misc]
    await close_slowly(CLOSE, some(*fakes), goes_on)
    assert order == [1, 3]
    assert fakes[0].closed == [Termination.CLOSED]


async def test_others_have_their_turn_after_each_that_is_closed() -> None:
    fakes = many(5)
    closed: list[int] = []

    def look_on() -> None:
        closed.append(sum(bool(fake.closed) for fake in fakes))
        asyncio.get_running_loop().call_soon(look_on)

    look_on()
    await close_slowly(CLOSE, some(*fakes), goes_on)
    assert {0, 1, 2, 3, 4} <= set(closed)


async def test_those_that_end_by_themselves_are_left_alone() -> None:
    fakes = many(3)
    sessions = some(*fakes)

    def end_another() -> None:
        del sessions[2]

    fakes[0].on_close = end_another
    await close_slowly(CLOSE, sessions, goes_on)
    assert [bool(fake.closed) for fake in fakes] == [True, False, True]


async def test_closing_stops_when_it_is_wanted_no_more() -> None:
    fakes = many(4)
    await close_slowly(CLOSE, some(*fakes), lambda: not fakes[1].closed)
    assert [bool(fake.closed) for fake in fakes] == [True, True, False, False]


async def test_nothing_to_close_takes_no_time() -> None:
    await close_slowly(replace(CLOSE, window=3600.0), {}, goes_on)

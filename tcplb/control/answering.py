"""How a worker answers questions about its sessions, without keeping the sessions waiting.

Whoever asks may ask for much: so it goes through the sessions a few at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping

from tcplb.control.inquiries import (
    Answer,
    CloseBackend,
    CloseSession,
    Found,
    ListSessions,
    PhaseName,
    Question,
    SessionFacts,
    SessionFilter,
)
from tcplb.control.wanted import of_client
from tcplb.dataplane.session import Session
from tcplb.dataplane.termination import Phase, Termination

_PHASES: dict[Phase, PhaseName] = {
    Phase.READING: "reading",
    Phase.QUEUED: "queued",
    Phase.CONNECTING: "connecting",
    Phase.DATA: "data",
}

AT_A_TIME = 250
"""Sessions that are looked at before others have their turn."""
_REST = 3
"""For how many times as long as a question has just taken others have all the time."""


async def answer(question: Question, sessions: Mapping[int, Session]) -> Answer:
    """Return the answer to `question`. What it asks to be done goes on after that, if it takes."""
    match question:
        case ListSessions():
            return await _find(question, sessions)
        case CloseSession(number):
            session = sessions.get(number)
            if session is not None:
                session.cancel(Termination.CLOSED)
            return session is not None
        case CloseBackend(pool, backend, _):
            return len(await _select(SessionFilter(pool=pool, backend=backend), sessions))


async def close_slowly(
    order: CloseBackend, sessions: Mapping[int, Session], goes_on: Callable[[], bool]
) -> None:
    """Close the sessions of a backend one by one, so that its clients do not all come back at once.

    Those that end by themselves meanwhile are left alone, and so are all from when it no longer
    `goes_on`.
    """
    wanted = SessionFilter(pool=order.pool, backend=order.backend)
    numbers = await _select(wanted, sessions)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for count, number in enumerate(numbers):
        # By the clock: many small sleeps, each a little too long, would add up.
        due = began + order.window * count / len(numbers)
        await asyncio.sleep(max(0.0, due - loop.time()))
        if not goes_on():
            return
        session = sessions.get(number)
        if session is not None:
            session.cancel(Termination.CLOSED)


async def _find(question: ListSessions, sessions: Mapping[int, Session]) -> Found:
    matches, after = _matcher(question.wanted), question.after
    total, page = 0, list[tuple[float, int]]()
    rest = _Rest()
    for some in _some_at_a_time(list(sessions)):
        found = [sessions[number] for number in some if number in sessions]
        places = [(one.record.accepted_at, one.number) for one in found if matches(one)]
        total += len(places)
        page += [place for place in places if after is None or place > after]
        page = sorted(page)[: question.limit]
        await rest.take()
    facts: list[SessionFacts] = []
    for some in _some_at_a_time([number for _, number in page]):
        facts += [_facts(sessions[number]) for number in some if number in sessions]
        await rest.take()
    return Found(tuple(facts), total)


async def _select(wanted: SessionFilter, sessions: Mapping[int, Session]) -> list[int]:
    """Return the numbers of those that are wanted."""
    matches = _matcher(wanted)
    numbers: list[int] = []
    rest = _Rest()
    for some in _some_at_a_time(list(sessions)):
        numbers += [number for number in some if number in sessions and matches(sessions[number])]
        await rest.take()
    return numbers


class _Rest:
    """Leaves the loop to the sessions for a while after each bit of work.

    How much that was is told by the processor's time, not the clock's: a worker that has little of
    it is not to answer slower still.
    """

    def __init__(self) -> None:
        self._began = time.thread_time()

    async def take(self) -> None:
        """Wait for some times as long as it is since the last rest."""
        await asyncio.sleep((time.thread_time() - self._began) * _REST)
        self._began = time.thread_time()


def _some_at_a_time(numbers: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(numbers), AT_A_TIME):
        yield numbers[start : start + AT_A_TIME]


def _matcher(wanted: SessionFilter) -> Callable[[Session], bool]:
    is_of_client = of_client(wanted.client)

    def matches(session: Session) -> bool:
        record = session.record
        return (
            wanted.listener in (None, record.listener)
            and wanted.pool in (None, record.pool)
            and wanted.backend in (None, _backend(session))
            and is_of_client(record.client_host)
        )

    return matches


def _backend(session: Session) -> str | None:
    return None if session.lease is None else session.lease.backend.name


def _facts(session: Session) -> SessionFacts:
    record = session.record
    up, down = session.moved
    return SessionFacts(
        record.accepted_at,
        session.number,
        record.client_host,
        record.client_port,
        record.listener,
        record.pool,
        _backend(session),
        _PHASES[session.phase],
        up,
        down,
        record.key,
    )

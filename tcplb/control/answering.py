"""How a worker answers questions about its sessions, without keeping the sessions waiting.

Whoever asks may ask for much: so it goes through the sessions a few at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

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

Network = IPv4Network | IPv6Network


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
    for some in _some_at_a_time(list(sessions)):
        found = [sessions[number] for number in some if number in sessions]
        places = [(one.record.accepted_at, one.number) for one in found if matches(one)]
        total += len(places)
        page += [place for place in places if after is None or place > after]
        page = sorted(page)[: question.limit]
        await asyncio.sleep(0)
    facts = (_facts(sessions[number]) for _, number in page if number in sessions)
    return Found(tuple(facts), total)


async def _select(wanted: SessionFilter, sessions: Mapping[int, Session]) -> list[int]:
    """Return the numbers of those that are wanted."""
    matches = _matcher(wanted)
    numbers: list[int] = []
    for some in _some_at_a_time(list(sessions)):
        numbers += [number for number in some if number in sessions and matches(sessions[number])]
        await asyncio.sleep(0)
    return numbers


def _some_at_a_time(numbers: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(numbers), AT_A_TIME):
        yield numbers[start : start + AT_A_TIME]


def _matcher(wanted: SessionFilter) -> Callable[[Session], bool]:
    network = None if wanted.client is None else ip_network(wanted.client, strict=False)

    def matches(session: Session) -> bool:
        record = session.record
        return (
            wanted.listener in (None, record.listener)
            and wanted.pool in (None, record.pool)
            and wanted.backend in (None, _backend(session))
            and (network is None or is_within(record.client_host, network))
        )

    return matches


def is_within(host: str, network: Network) -> bool:
    """Whether a client's address is in `network`, be it written as IPv6 or not."""
    address = ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address) in network


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

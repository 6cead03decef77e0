"""What the streams of the API consist of: events, figures, connections that end.

A stream is made by a function of a `Route` and sent by `event_stream`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import Field, StringConstraints

from tcplb.control.admin.control import Control, TapFilter
from tcplb.control.admin.models import Ended, Stats
from tcplb.control.admin.table import Call, Message, Messages, Network, Query, Text

_FRESH = 0.2
"""Seconds for which figures are as good as new."""


class StreamQuery(Query):
    """From where on."""

    after: Annotated[int, Field(ge=0, le=2**53)] | None = Field(
        default=None,
        description="The number of the last event that is known already; if it is not given, only "
        "what happens from now on is sent. The header Last-Event-ID comes before it.",
    )


class TapQuery(Query):
    """Which connections."""

    listener: Text | None = None
    pool: Text | None = None
    backend: Text | None = None
    client: Network | None = Field(default=None, description="An IP address or a network.")
    termination: Annotated[str, StringConstraints(pattern=r"^[A-Za-z?-]{2}$")] | None = Field(
        default=None,
        description="The two letters of how it ended, as in the access log; ? for any.",
    )


@contextmanager
def events(control: Control, call: Call) -> Iterator[Messages]:
    """The events after the one that the client knows, and then each that happens."""
    yield _events(control, _first(control, call))


async def _events(control: Control, after: int) -> Messages:
    while True:
        news = control.events(after)
        if news:
            after = news[-1].number
            yield [Message(each.model_dump_json(), each.number) for each in news]
        await control.next_event(after)


def _first(control: Control, call: Call) -> int:
    known = control.events(0)
    latest = known[-1].number if known else 0
    asked: int | None = call.query.after if call.last_event is None else call.last_event
    if asked is None:
        return latest
    # A number that is still to come is one from before a restart: to that client all is news.
    return asked if asked <= latest else 0


@contextmanager
def stats(control: Control, _: Call) -> Iterator[Messages]:
    """The figures of now, and then of each second."""
    yield _stats(control)


async def _stats(control: Control) -> Messages:
    last: Stats | None = None
    while True:
        # Many who watch see the same figures, which take a while if there are many backends.
        stats = control.stats(max_age=_FRESH)
        if stats is not last:  # or this one came just before the others
            yield [Message(stats.model_dump_json())]
        last = stats
        # On the whole second: then all streams wake the process at the same time.
        loop = asyncio.get_running_loop()
        await asyncio.sleep(1 - loop.time() % 1)


@contextmanager
def ended(control: Control, call: Call) -> Iterator[Messages]:
    """Each connection that ends from now on."""
    asked = call.query
    wanted = TapFilter(asked.listener, asked.pool, asked.backend, asked.client, asked.termination)
    with control.tap(wanted) as connections:
        yield _ended(connections)


async def _ended(connections: AsyncIterator[list[Ended]]) -> Messages:
    async for some in connections:
        yield [Message(each.model_dump_json()) for each in some]

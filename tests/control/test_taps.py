from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tcplb.control.inquiries import EndedConnections, TapFilter
from tcplb.control.taps import KEPT, MOST_FILTERS, Taps, Told
from tcplb.dataplane.record import Record
from tests.records import RECORD

ALL = TapFilter()
OTHER = TapFilter(pool="other")


def ended(**changes: Any) -> Record:
    return replace(RECORD, **changes)


def told(*records: Record, lost: int = 0) -> EndedConnections:
    return EndedConnections(records, lost)


class Watched:
    """Taps, and the filters after each change."""

    def __init__(self) -> None:
        self.changes: list[tuple[TapFilter, ...]] = []
        self.taps = Taps(lambda: self.changes.append(self.taps.filters))


async def test_workers_are_told_what_is_wanted_each_filter_once() -> None:
    watched = Watched()
    web = TapFilter(pool="web")
    with watched.taps.watch(OTHER):
        with watched.taps.watch(OTHER), watched.taps.watch(web):
            pass
        assert watched.taps.filters == (OTHER,)
    both = (OTHER, web)
    assert watched.changes == [(OTHER,), (OTHER,), both, (OTHER,), (OTHER,), ()]


async def test_workers_need_not_try_more_than_a_few_filters() -> None:
    taps = Taps(lambda: None)
    filters = [TapFilter(client=f"10.0.0.{number}") for number in range(MOST_FILTERS + 1)]
    first, *others = [taps.watch(each) for each in filters]
    for each in others:
        each.__enter__()
    assert taps.filters == tuple(filters[1:])
    with first:
        assert set(taps.filters) == {ALL}
    with taps.watch(ALL):
        assert set(taps.filters) == {ALL}
    for each in others:
        each.__exit__(None, None, None)
    assert not taps.filters


async def test_a_client_that_is_no_address_is_refused_before_anybody_is_told() -> None:
    watched = Watched()
    with (
        pytest.raises(ValueError, match="nonsense"),
        watched.taps.watch(TapFilter(client="nonsense")),
    ):
        pass
    assert watched.changes == []


async def test_each_gets_what_it_wants() -> None:
    taps = Taps(lambda: None)
    with taps.watch(OTHER) as stream, taps.watch(ALL) as everything:
        taps.tell(2, told(ended(), ended(client_port=9)))
        assert await anext(everything) == Told([(2, ended()), (2, ended(client_port=9))])
        coming = asyncio.ensure_future(_next(stream))
        await asyncio.sleep(0)
        assert not coming.done()
        wanted = ended(pool="other")
        taps.tell(1, told(ended(), wanted))
        assert await coming == Told([(1, wanted)])
        assert await anext(everything) == Told([(1, ended()), (1, wanted)])


async def _next(stream: AsyncIterator[Told]) -> Told:
    return await anext(stream)


async def test_one_that_does_not_read_loses_the_latest_and_nobody_else_does() -> None:
    taps = Taps(lambda: None)
    records = [ended(client_port=number + 1) for number in range(KEPT + 5)]
    with taps.watch(ALL) as slow, taps.watch(ALL) as quick:
        for record in records:
            taps.tell(1, told(record))
            assert await anext(quick) == Told([(1, record)])
        assert await anext(slow) == Told([(1, record) for record in records[:KEPT]], lost=5)
        taps.tell(1, told(records[0]))
        assert await anext(slow) == Told([(1, records[0])])


async def test_what_a_worker_could_not_tell_of_is_lost_to_all() -> None:
    taps = Taps(lambda: None)
    with taps.watch(ALL) as stream:
        taps.tell(1, told(ended(), lost=3))
        assert await anext(stream) == Told([(1, ended())], lost=3)


async def test_who_has_left_is_not_told() -> None:
    taps = Taps(lambda: None)
    with taps.watch(ALL):
        pass
    taps.tell(1, told(ended()))

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from tcplb.control.inquiries import EndedConnections, TapFilter
from tcplb.control.taps import KEPT, Taps
from tcplb.dataplane.record import to_json
from tcplb.dataplane.termination import Termination
from tests.records import RECORD

ALL = TapFilter()


def ended(**changes: Any) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(to_json(replace(RECORD, **changes)))
    return shown


def told(*records: dict[str, Any]) -> EndedConnections:
    return EndedConnections(records, 0)


class Watched:
    """Taps, and the filters after each change."""

    def __init__(self) -> None:
        self.changes: list[tuple[TapFilter, ...]] = []
        self.taps = Taps(lambda: self.changes.append(self.taps.filters))


async def test_workers_are_told_what_is_wanted_each_filter_once() -> None:
    watched = Watched()
    other = TapFilter(pool="web")
    with watched.taps.watch(ALL):
        with watched.taps.watch(ALL), watched.taps.watch(other):
            pass
        assert watched.taps.filters == (ALL,)
    assert watched.changes == [(ALL,), (ALL,), (ALL, other), (ALL,), (ALL,), ()]


async def test_a_client_that_is_no_address_is_refused_before_anybody_is_told() -> None:
    watched = Watched()
    with (
        pytest.raises(ValueError, match="nonsense"),
        watched.taps.watch(TapFilter(client="nonsense")),
    ):
        pass
    assert watched.changes == []


@pytest.mark.parametrize(
    ("wanted", "is_wanted"),
    [
        (ALL, True),
        (TapFilter(listener="web"), True),
        (TapFilter(listener="side"), False),
        (TapFilter(pool="web", backend="b1"), True),
        (TapFilter(pool="web", backend="b2"), False),
        (TapFilter(pool="other"), False),
        (TapFilter(client="127.0.0.0/8"), True),
        (TapFilter(client="127.0.0.2"), False),
        (TapFilter(client="::/0"), False),
        (TapFilter(termination="--"), True),
        (TapFilter(termination="S?"), False),
        (TapFilter(termination="??"), True),
    ],
)
async def test_each_gets_what_it_wants(wanted: TapFilter, is_wanted: bool) -> None:
    taps = Taps(lambda: None)
    with taps.watch(wanted) as stream, taps.watch(ALL) as everything:
        last = ended(client_port=9)
        taps.tell(2, told(ended(), last))
        assert await anext(everything) == (2, ended())
        assert await anext(everything) == (2, last)
        coming = asyncio.ensure_future(_next(stream))
        await asyncio.sleep(0)
        assert coming.done() == is_wanted
        coming.cancel()


async def _next(stream: Any) -> Any:
    return await anext(stream)


async def test_ipv6_clients_and_those_without_a_backend_are_told() -> None:
    taps = Taps(lambda: None)
    wanted = TapFilter(client="2001:db8::/32", termination="?C")
    with taps.watch(wanted) as stream:
        record = ended(
            client_host="2001:db8::1", backend="", termination=Termination.CONNECT_FAILED
        )
        taps.tell(1, told(ended(), record))
        assert await anext(stream) == (1, record)


async def test_one_that_does_not_read_loses_the_latest_and_nobody_else_does() -> None:
    taps = Taps(lambda: None)
    records = [ended(client_port=number + 1) for number in range(KEPT + 5)]
    with taps.watch(ALL) as slow, taps.watch(ALL) as quick:
        for record in records:
            taps.tell(1, told(record))
            assert (await anext(quick))[1] == record
        assert [(await anext(slow))[1] for _ in range(KEPT)] == records[:KEPT]
        taps.tell(1, told(records[0]))
        assert (await anext(slow))[1] == records[0]


async def test_who_has_left_is_not_told() -> None:
    taps = Taps(lambda: None)
    with taps.watch(ALL):
        pass
    taps.tell(1, told(ended()))

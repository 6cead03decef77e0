from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from tcplb.control.inquiries import EndedConnections, TapFilter
from tcplb.control.tap import MOST, Tap
from tcplb.dataplane.record import Record
from tcplb.dataplane.termination import Termination
from tests.peers import eventually
from tests.records import RECORD


class Told:
    """A tap, what it has told, and what went to the log."""

    def __init__(self, *, log: bool = True) -> None:
        self.ended: list[EndedConnections] = []
        self.logged: list[Record] = []
        self.tap = Tap(self.logged.append if log else None, self.ended.append)

    def end(self, **changes: Any) -> Record:
        """Have a session end, as the data plane does it."""
        record = replace(RECORD, **changes)
        assert self.tap.sink is not None
        self.tap.sink(record)
        return record

    async def records(self) -> list[Record]:
        await eventually(lambda: bool(self.ended))
        return [record for each in self.ended for record in each.records]


def test_while_nobody_listens_records_go_past_it() -> None:
    told = Told()
    sink = told.tap.sink
    assert sink == told.logged.append
    told.tap.open((TapFilter(),))
    assert told.tap.sink != sink
    told.tap.open(())
    assert told.tap.sink == sink
    assert Told(log=False).tap.sink is None


async def test_what_is_wanted_is_told_and_everything_is_logged() -> None:
    told = Told()
    told.tap.open((TapFilter(client="10.0.0.0/8"), TapFilter(termination="S?")))
    told.end()
    told.end(client_host="10.1.2.3")
    told.end(termination=Termination.BACKEND_RESET)
    told.end(client_host="10.1.2.3", termination=Termination.BACKEND_RESET)
    assert await told.records() == told.logged[1:]
    assert len(told.logged) == 4
    assert len(told.ended) == 1


async def test_without_a_log_it_tells_all_the_same() -> None:
    told = Told(log=False)
    told.tap.open((TapFilter(),))
    record = told.end()
    assert await told.records() == [record]


async def test_what_comes_too_fast_is_counted() -> None:
    told = Told()
    told.tap.open((TapFilter(),))
    for _ in range(MOST + 3):
        told.end()
    assert len(await told.records()) == MOST
    assert [each.lost for each in told.ended] == [3]
    told.end()
    await eventually(lambda: len(told.ended) == 2)
    assert (len(told.ended[1].records), told.ended[1].lost) == (1, 0)


async def test_what_was_gathered_when_the_last_one_leaves_does_no_harm() -> None:
    told = Told()
    told.tap.open((TapFilter(),))
    told.end()
    told.tap.open(())
    assert len(await told.records()) == 1
    await asyncio.sleep(0)

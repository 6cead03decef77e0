from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tcplb.control.admin.answers import RefusedError
from tcplb.control.admin.pace import Pace
from tests.control.admin.conftest import Serve
from tests.control.admin.fake import FakeControl


def still_there() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


class Workers:
    """Some who want a turn each, and hold it until they are told to end."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.at_work: list[str] = []
        self.may_end = asyncio.Event()

    def start(self, name: str, gone: asyncio.Future[None] | None = None) -> asyncio.Task[None]:
        return asyncio.ensure_future(self._work(name, gone or still_there()))

    async def _work(self, name: str, gone: asyncio.Future[None]) -> None:
        async with self.pace.turn(gone):
            self.at_work.append(name)
            await self.may_end.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_turns_are_had_one_after_the_other_in_order() -> None:
    pace, busy, order = Pace(), 0, list[int]()

    async def work(number: int) -> None:
        nonlocal busy
        async with pace.turn(still_there()):
            busy += 1
            assert busy == 1
            await asyncio.sleep(0)
            order.append(number)
            busy -= 1

    await asyncio.gather(*map(work, range(20)))
    assert order == list(range(20))


async def test_who_has_left_gets_no_turn_and_holds_up_nobody() -> None:
    workers, gone = Workers(), still_there()
    first, second, third = workers.start("a"), workers.start("b", gone), workers.start("c")
    await settle()
    gone.set_result(None)
    with pytest.raises(RefusedError):
        await second
    assert workers.at_work == ["a"]
    workers.may_end.set()
    await asyncio.gather(first, third)
    assert workers.at_work == ["a", "c"]


@pytest.mark.parametrize("place", ["waiting", "at its turn"])
async def test_who_is_cancelled_passes_the_turn_on(place: str) -> None:
    workers = Workers()
    first, second = workers.start("a"), workers.start("b")
    await settle()
    (second if place == "waiting" else first).cancel()
    workers.may_end.set()
    await asyncio.wait([first, second])
    await asyncio.wait_for(workers.start("c"), 20)
    assert workers.at_work[-1] == "c"


async def test_who_is_cancelled_just_when_its_turn_comes_passes_it_on() -> None:
    workers = Workers()
    workers.may_end.set()
    first = workers.start("a")
    await first
    second, third = workers.start("b"), workers.start("c")
    await settle()
    second.cancel()
    await asyncio.wait([second])
    await asyncio.wait_for(third, 20)


async def test_an_error_ends_the_turn() -> None:
    pace = Pace()
    with pytest.raises(ZeroDivisionError):
        async with pace.turn(still_there()):
            raise ZeroDivisionError
    async with pace.turn(still_there()):
        pass


def loop_turns() -> Iterator[int]:
    """Count the turns of the loop from now on."""
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1
        asyncio.get_running_loop().call_soon(tick)

    tick()
    while True:
        yield count


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/pools"])
async def test_the_loop_has_turns_between_answers_that_take_long(
    serve: Serve, control: FakeControl, path: str
) -> None:
    turns, began = loop_turns(), list[int]()

    def work() -> bytes:
        began.append(next(turns))
        sum(range(200_000))
        return b"x 1\n"

    control.on_look = work
    client = await serve(metrics=work)
    replies = await asyncio.gather(*(client.get(path) for _ in range(8)))
    assert [reply.status for reply in replies] == [200] * 8
    # Eight that came at once would all be answered in one turn, or in two.
    assert len(set(began)) == 8

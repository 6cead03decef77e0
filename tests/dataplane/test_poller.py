"""The poller: events reach whom they are meant for, and deadlines pass once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable

import pytest

from tcplb.dataplane.poller import TICK, Poller, resume
from tcplb.dataplane.splice import SpliceEngine
from tests.dataplane.harness import open_epolls, within
from tests.peers import PATIENCE, Net, Peer, Server, eventually


@pytest.fixture
async def engine() -> AsyncIterator[SpliceEngine]:
    engine = SpliceEngine()
    yield engine
    await engine.shutdown()


# -- deadlines ----------------------------------------------------------------------------------


class Alarm:
    """Writes down its name when it is late."""

    def __init__(self, rung: list[str], name: str) -> None:
        self._rung = rung
        self.name = name
        self.then: Callable[[], object] = lambda: None

    def time_out(self) -> None:
        self._rung.append(self.name)
        self.then()


@pytest.fixture
def rung() -> list[str]:
    return []


async def test_deadlines_pass_in_their_order_and_once(rung: list[str]) -> None:
    poller = Poller()
    now = poller.loop.time()
    for name in "dbac":
        poller.set_deadline(Alarm(rung, name), now + 3 * TICK * "abcd".index(name))
    await eventually(lambda: len(rung) == 4)
    poller.set_deadline(Alarm(rung, "e"), now)  # another sweep, which must not tell them again
    await eventually(lambda: "e" in rung)
    assert rung == list("abcde")
    assert not poller.deadlines


async def test_deadline_does_not_pass_before_its_time(rung: list[str]) -> None:
    poller = Poller()
    due = poller.loop.time() + 2.5 * TICK
    rung_at: list[float] = []
    alarm = Alarm(rung, "a")
    alarm.then = lambda: rung_at.append(poller.loop.time())
    poller.set_deadline(alarm, due)
    await eventually(lambda: bool(rung_at))
    assert rung_at[0] >= due


async def test_deadline_that_is_taken_back_does_not_pass(rung: list[str]) -> None:
    poller = Poller()
    now = poller.loop.time()
    taken_back, kept = Alarm(rung, "taken back"), Alarm(rung, "kept")
    poller.set_deadline(taken_back, now)
    poller.set_deadline(kept, now + 2 * TICK)
    del poller.deadlines[taken_back]
    await eventually(lambda: bool(rung))
    assert rung == ["kept"]


async def test_deadline_that_is_taken_back_by_one_that_passes_at_the_same_time(
    rung: list[str],
) -> None:
    poller = Poller()
    now = poller.loop.time()
    first, second, third = (Alarm(rung, name) for name in ("first", "second", "third"))
    first.then = lambda: poller.deadlines.pop(second)
    for alarm in (first, second, third):
        poller.set_deadline(alarm, now)
    await eventually(lambda: "third" in rung)
    assert rung == ["first", "third"]


async def test_deadline_that_is_put_off_by_one_that_passes_at_the_same_time(
    rung: list[str],
) -> None:
    poller = Poller()
    now = poller.loop.time()
    first, second, third = (Alarm(rung, name) for name in ("first", "second", "third"))
    first.then = lambda: poller.set_deadline(second, now + PATIENCE)
    for alarm in (first, second, third):
        poller.set_deadline(alarm, now)
    await eventually(lambda: "third" in rung)
    assert rung == ["first", "third"]
    assert list(poller.deadlines) == [second]
    del poller.deadlines[second]


async def test_deadline_set_by_one_that_passes(rung: list[str]) -> None:
    poller = Poller()
    first, second = Alarm(rung, "first"), Alarm(rung, "second")
    first.then = lambda: poller.set_deadline(second, poller.loop.time())
    poller.set_deadline(first, poller.loop.time())
    await eventually(lambda: "second" in rung)
    assert rung == ["first", "second"]


async def test_bug_in_one_that_is_late_does_not_save_the_others(
    rung: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    poller = Poller()
    now = poller.loop.time()
    broken = Alarm(rung, "broken")
    broken.then = lambda: 1 / 0
    poller.set_deadline(broken, now)
    poller.set_deadline(Alarm(rung, "next"), now)
    poller.set_deadline(Alarm(rung, "later"), now + 2 * TICK)
    await eventually(lambda: "later" in rung)
    assert rung == ["broken", "next", "later"]
    check_logged_once(caplog)


# -- results of the loop ------------------------------------------------------------------------


async def test_result_of_a_future(engine: SpliceEngine) -> None:
    poller = Poller()
    future: asyncio.Future[str] = poller.loop.create_future()
    poller.loop.call_soon(future.set_result, "the result")
    due = poller.loop.time() + PATIENCE
    assert await within(engine, poller.result_of(future, due)) == "the result"
    assert not poller.deadlines


async def test_result_that_is_there_already(engine: SpliceEngine) -> None:
    poller = Poller()
    future: asyncio.Future[str] = poller.loop.create_future()
    future.set_result("the result")
    due = poller.loop.time() + PATIENCE
    assert await within(engine, poller.result_of(future, due)) == "the result"


async def test_error_of_a_future(engine: SpliceEngine) -> None:
    poller = Poller()
    future: asyncio.Future[str] = poller.loop.create_future()
    poller.loop.call_soon(future.set_exception, LookupError("no result"))
    with pytest.raises(LookupError, match="no result"):
        await within(engine, poller.result_of(future, poller.loop.time() + PATIENCE))


async def test_future_that_is_late_is_given_up(engine: SpliceEngine) -> None:
    poller = Poller()
    future: asyncio.Future[str] = poller.loop.create_future()
    with pytest.raises(TimeoutError):
        await within(engine, poller.result_of(future, poller.loop.time()))
    assert future.cancelled()


async def test_result_that_comes_with_the_time_out_wakes_nobody_later() -> None:
    """The loop has the wake-up in its queue when the deadline passes; the life has gone on."""
    poller = Poller()
    future: asyncio.Future[str] = poller.loop.create_future()
    told: list[str] = []

    async def life() -> None:
        try:
            told.append(await poller.result_of(future, poller.loop.time()))
        except TimeoutError:
            told.append("too late")
        await poller.sleep(PATIENCE)
        told.append("woken by what it did not wait for")

    waiting = life()
    resume(waiting)
    time.sleep(2 * TICK)  # noqa: ASYNC251 - the loop is held up until the deadline has passed
    future.set_result("in time")
    await eventually(lambda: bool(told))
    for _ in range(3):
        await asyncio.sleep(0)
    waiting.close()
    assert told in (["too late"], ["in time"])


# -- events -------------------------------------------------------------------------------------


async def peers(net: Net, server: Server) -> tuple[Peer, Peer]:
    """Return both ends of a connection; the second is for an engine."""
    client = await net.client((server.host, server.port))
    return client, await server.accept()


async def peek(engine: SpliceEngine, peer: Peer) -> bytes:
    """Adopt a copy of the peer's socket, and return the first bytes that come."""
    connection = await engine.adopt(peer.sock.dup())
    try:
        return await connection.peek(0, PATIENCE)
    finally:
        connection.close()


async def test_bug_in_one_coroutine_costs_no_other_event_of_the_batch(
    net: Net, engine: SpliceEngine, caplog: pytest.LogCaptureFixture
) -> None:
    server = net.server()
    pairs = [await peers(net, server) for _ in range(3)]
    got: list[bytes] = []

    async def life(ours: Peer) -> None:
        got.append(await peek(engine, ours))
        if got[-1] == b"1":
            raise ZeroDivisionError("a bug of ours")

    assert len([engine.start(life(ours)) for _, ours in pairs]) == len(pairs)
    for number, (theirs, _) in enumerate(pairs):  # no await: all are in one batch
        theirs.sock.send(b"%d" % number)
    await eventually(lambda: len(got) == 3)
    assert sorted(got) == [b"0", b"1", b"2"]
    check_logged_once(caplog)


def check_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    [logged] = [entry for entry in caplog.records if entry.levelno >= logging.ERROR]
    assert logged.getMessage() == "internal error; the other connections go on"
    assert logged.exc_info is not None
    assert logged.exc_info[0] is ZeroDivisionError
    caplog.clear()  # the traceback holds what was in the frames


async def test_more_events_than_one_batch_holds(net: Net, engine: SpliceEngine) -> None:
    server = net.server()
    pairs = [await peers(net, server) for _ in range(300)]
    got: list[bytes] = []

    async def life(ours: Peer) -> None:
        got.append(await peek(engine, ours))

    assert len([engine.start(life(ours)) for _, ours in pairs]) == len(pairs)
    for number, (theirs, _) in enumerate(pairs):
        theirs.sock.send(b"%d" % number)
    await eventually(lambda: len(got) == 300)
    assert set(got) == {b"%d" % number for number in range(300)}


async def test_shutdown_gives_up_the_epoll_and_the_next_connection_opens_one(
    net: Net, engine: SpliceEngine
) -> None:
    before = open_epolls()
    server = net.server()
    for _ in range(3):
        theirs, ours = await peers(net, server)
        await theirs.send(b"hello")
        assert await within(engine, peek(engine, ours)) == b"hello"
        assert open_epolls() == before + 1
        await engine.shutdown()
        await engine.shutdown()
        assert open_epolls() == before


async def test_shutdown_leaves_a_connection_that_is_still_open_its_events(
    net: Net, engine: SpliceEngine
) -> None:
    before = open_epolls()
    theirs, ours = await peers(net, net.server())
    peeking = asyncio.create_task(within(engine, peek(engine, ours)))
    await eventually(lambda: open_epolls() == before + 1)
    await engine.shutdown()
    await theirs.send(b"still heard")
    assert await peeking == b"still heard"
    await engine.shutdown()
    assert open_epolls() == before

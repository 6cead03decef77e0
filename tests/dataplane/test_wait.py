"""A connection in `wait`: woken, late, or left by its peer; and no byte is touched meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tcplb.dataplane.engine import Connection, Engine
from tests.dataplane.harness import within
from tests.peers import PATIENCE, Net, Peer, pattern

Pair = Callable[[], Awaitable[tuple[Peer, Connection]]]
LONG = 4 * PATIENCE


@pytest.fixture
async def pair(net: Net, engine: Engine) -> AsyncIterator[Pair]:
    """Return a maker of pairs: a peer, and the engine's end of its connection."""
    server = net.server()
    made: list[Connection] = []

    async def make() -> tuple[Peer, Connection]:
        peer = await net.client((server.host, server.port))
        sock = (await server.accept()).sock
        made.append(await within(engine, engine.adopt(sock.dup())))
        sock.close()
        return peer, made[-1]

    yield make
    for connection in made:
        connection.close()
        await within(engine, connection.wait_closed())
    await engine.shutdown()


def waiting(
    engine: Engine, connection: Connection, timeout: float = LONG, *, until_fin: bool = True
) -> asyncio.Task[None]:
    return asyncio.create_task(
        within(engine, connection.wait(timeout, until_fin=until_fin)), name="waiting"
    )


async def let_it_begin(task: asyncio.Task[None]) -> None:
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()


async def test_woken(engine: Engine, pair: Pair) -> None:
    _, connection = await pair()
    for _ in range(3):
        task = waiting(engine, connection)
        await let_it_begin(task)
        connection.wake()
        await task


async def test_a_wake_that_came_before_is_none_for_the_next_wait(
    engine: Engine, pair: Pair
) -> None:
    _, connection = await pair()
    task = waiting(engine, connection)
    await let_it_begin(task)
    connection.wake()
    connection.wake()
    await task
    connection.wake()
    task = waiting(engine, connection)
    await let_it_begin(task)
    connection.wake()
    await task


async def test_late(engine: Engine, pair: Pair) -> None:
    _, connection = await pair()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await waiting(engine, connection, 0.01)
    task = waiting(engine, connection)
    await let_it_begin(task)
    connection.wake()
    await task


async def test_bytes_stay_unread_and_wake_nobody(engine: Engine, pair: Pair) -> None:
    peer, connection = await pair()
    task = waiting(engine, connection)
    data = pattern(1000)
    for start in range(0, 1000, 100):
        await peer.send(data[start : start + 100])
        await peer.delivered()
        await let_it_begin(task)
    connection.wake()
    await task
    assert await within(engine, connection.peek(999, LONG)) == data


@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
@pytest.mark.parametrize("data", [b"", b"data"])
async def test_reset(engine: Engine, pair: Pair, before: bool, data: bytes) -> None:
    for until_fin in (True, False):
        peer, connection = await pair()
        await peer.send(data)
        await peer.delivered()
        if before:
            peer.reset()
        task = waiting(engine, connection, until_fin=until_fin)
        if not before:
            await let_it_begin(task)
            peer.reset()
        with pytest.raises(ConnectionResetError):
            await task
        assert connection.lost


@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
@pytest.mark.parametrize("data", [b"", b"data"])
async def test_fin(engine: Engine, pair: Pair, before: bool, data: bytes) -> None:
    peer, connection = await pair()
    await peer.send(data)
    if before:
        peer.fin()
    task = waiting(engine, connection, until_fin=True)
    if not before:
        await let_it_begin(task)
        peer.fin()
    with pytest.raises(ConnectionResetError):
        await task
    assert not connection.lost
    with pytest.raises(ConnectionResetError):  # and it has not come back
        await waiting(engine, connection, until_fin=True)

    task = waiting(engine, connection, until_fin=False)
    await let_it_begin(task)
    connection.wake()
    await task
    assert await within(engine, connection.peek(len(data), LONG)) == data


async def test_cancelled(engine: Engine, pair: Pair) -> None:
    _, connection = await pair()
    for woken in (False, True):
        task = waiting(engine, connection)
        await let_it_begin(task)
        task.cancel()
        if woken:  # too late
            connection.wake()
        with pytest.raises(asyncio.CancelledError):
            await task
    task = waiting(engine, connection)
    await let_it_begin(task)
    connection.wake()
    await task


async def test_woken_in_the_instant_in_which_the_peer_leaves(engine: Engine, pair: Pair) -> None:
    """Either may be noticed first; but one of them is, and the connection can be ended."""
    for act in (Peer.reset, Peer.fin):
        for wake_first in (True, False):
            peer, connection = await pair()
            task = waiting(engine, connection)
            await let_it_begin(task)
            if wake_first:
                connection.wake()
            act(peer)
            connection.wake()
            [result] = await asyncio.gather(task, return_exceptions=True)
            assert result is None or isinstance(result, ConnectionResetError)
            connection.reset()


async def test_a_wake_of_one_that_is_closed_by_then(engine: Engine, pair: Pair) -> None:
    _, connection = await pair()
    task = waiting(engine, connection)
    await let_it_begin(task)
    connection.wake()
    await task
    connection.wake()
    connection.reset()
    await within(engine, connection.wait_closed())
    connection.wake()


async def test_a_peer_that_has_sent_more_than_is_read_ahead(engine: Engine, pair: Pair) -> None:
    peer, connection = await pair()
    task = waiting(engine, connection)
    data = pattern(8 * 1024 * 1024)
    sent = await peer.flood(data)
    assert sent < len(data)
    assert not task.done()
    connection.wake()
    await task
    seen = await within(engine, connection.peek(1000, LONG))
    assert data.startswith(seen)

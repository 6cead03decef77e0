"""A rate that does not depend on the target: what a closed loop hides, an open one shows."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from echo_backends import EchoServer, Faults
from tcplb.loadgen.client import TURN
from tcplb.loadgen.job import Mode
from tcplb.loadgen.loop import NEVER_SENT
from tests.loadgen.loads import at_least, http, job, load, load_here, percentile, tcp
from tests.loadgen.stage import Stage
from tests.peers import Net, Peer

STALL = 0.5
"""Seconds that a server stalls."""
FIRST = 50
"""The request that the stall begins with."""

REFUSED = "connection refused"
SILENT = "no answer in time"
ANSWER = b"HTTP/1.1 200 OK\r\nX-Backend: b\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    net = Net()
    yield net
    await net.close()


class Stalling:
    """A script for a server that answers at once, but for one stall."""

    def __init__(self) -> None:
        self.requests = 0
        self._goes_on = asyncio.Event()
        self._goes_on.set()

    async def __call__(self, peer: Peer) -> None:
        while await head(peer):
            self.requests += 1
            if self.requests == FIRST:
                self._goes_on.clear()
                asyncio.get_running_loop().call_later(STALL, self._goes_on.set)
            await self._goes_on.wait()
            peer.put(ANSWER)


async def head(peer: Peer) -> bytes:
    """Receive the head of a request; b"" after the client's end."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        more = await peer.receive_some()
        if not more:
            return b""
        data += more
    return data


# -- coordinated omission -----------------------------------------------------------------------


async def test_an_open_loop_shows_a_stall(net: Net) -> None:
    stalling = Stalling()
    server = net.server().serve(stalling)
    wanted = job(http(server), Mode.REQUEST, rate=200.0, duration=2.0)
    total = (await load(wanted)).total
    assert total.requests == stalling.requests == 400
    assert total.errors == 0
    # 100 requests were due during the stall, half of them in its first half.
    assert at_least(total.latency, 0.24) >= 50
    assert at_least(total.latency, 0.04) >= 90
    assert percentile(total.latency, 99) > 0.4
    # What was sent late waited for its turn: only the first four were sent into the stall.
    assert at_least(total.first_byte, 0.24) < 50


async def test_a_closed_loop_hides_it(net: Net) -> None:
    stalling = Stalling()
    server = net.server().serve(stalling)
    total = (await load(job(http(server), Mode.REQUEST, count=1000))).total
    assert total.requests == stalling.requests == 1000
    # Four clients wait, all else waits with them, and 996 of 1000 requests know nothing of it.
    assert at_least(total.latency, 0.24) >= 4
    assert percentile(total.latency, 99) < 0.24


async def test_a_rate_over_several_processes_shows_it_too(net: Net) -> None:
    server = net.server().serve(Stalling())
    wanted = job(http(server), Mode.CONNECT, connections=8, rate=200.0, duration=1.0)
    total = (await load(wanted, processes=2)).total
    assert (total.requests, total.errors) == (200, 0)
    assert at_least(total.latency, 0.24) >= 50


# -- how many are due ---------------------------------------------------------------------------


DUE = [
    ({"rate": 400.0, "duration": 0.2}, 80),
    ({"rate": 400.0, "duration": 0.2, "burst": 20}, 80),
    ({"rate": 400.0, "duration": 0.21, "burst": 20}, 100),
    ({"rate": 400.0, "duration": 0.2, "ramp": 0.2}, 40),
    ({"rate": 400.0, "duration": 10.0, "count": 60}, 60),
    ({"rate": 10.0, "duration": 0.1000001}, 2),  # the second one at the very end
]
"""How a rate is wanted, and how many requests are due then."""


@pytest.mark.parametrize("processes", [1, 2])
async def test_all_that_are_due_are_sent_and_no_others(processes: int) -> None:
    async def requests(changes: dict[str, float]) -> int:
        async with EchoServer() as server:
            wanted = job(http(server), Mode.REQUEST, timeout=30.0, **changes)
            total = (await load(wanted, processes=processes)).total
        assert total.requests == server.requests == total.latency.count
        assert total.errors == 0
        return total.requests

    sent = await asyncio.gather(*(requests(changes) for changes, _ in DUE))
    assert sent == [number for _, number in DUE]


# -- a target that does not keep up --------------------------------------------------------------


async def test_what_a_silent_target_got_has_no_answer_and_the_rest_was_never_sent() -> None:
    async def check(mode: Mode) -> None:
        async with EchoServer(Faults(stall=True)) as server:
            wanted = job(http(server), mode, rate=100.0, duration=0.5, timeout=0.2)
            total = await load_here(wanted)
        assert total.requests == total.latency.count == 0
        assert set(total.failures) == {SILENT, NEVER_SENT}
        assert total.errors == 50
        # A connection is for one request, if that gets no answer, or for one that never came.
        assert 4 <= total.failures[SILENT] <= server.connections <= total.failures[SILENT] + 4

    await asyncio.gather(*map(check, (Mode.REQUEST, Mode.CONNECT, Mode.ECHO)))


async def test_no_more_were_never_sent_than_were_wanted() -> None:
    async with EchoServer(Faults(stall=True)) as server:
        changes = {"rate": 100.0, "duration": 0.3, "timeout": 0.2, "connections": 1, "count": 10}
        total = (await load(job(http(server), Mode.REQUEST, **changes))).total
        assert set(total.failures) == {SILENT, NEVER_SENT}
        assert total.errors == 10


async def test_what_was_due_in_the_warm_up_is_not_counted(net: Net) -> None:
    refusing = net.refusing()
    changes = {"rate": 100.0, "warmup": 0.2, "duration": 0.3, "timeout": 0.1}
    total = (await load(job(http(refusing), Mode.REQUEST, **changes))).total
    assert set(total.failures) == {REFUSED, NEVER_SENT}
    assert total.failures[NEVER_SENT] == 30


async def test_a_connection_each_that_is_refused_is_one_failure_each(net: Net) -> None:
    refusing = net.refusing()
    total = await load_here(job(tcp(refusing), Mode.CONNECT, rate=100.0, duration=0.2))
    assert dict(total.failures) == {REFUSED: 20}


# -- a target that closes connections meanwhile --------------------------------------------------


async def answer_once(peer: Peer) -> None:
    """Answer a request and close, without having said so."""
    if await head(peer):
        peer.put(ANSWER)
        peer.fin()
        await peer.until_end()


async def test_a_connection_closed_between_requests_is_replaced_without_a_failure(
    net: Net,
) -> None:
    server = net.server().serve(answer_once)
    # Of 20 clients each has its turn five times a second: the end comes long before.
    wanted = job(http(server), Mode.REQUEST, connections=20, rate=100.0, count=40)
    total = (await load(wanted)).total
    assert (total.requests, total.errors) == (40, 0)
    assert 40 <= server.accepted == total.connections <= 60
    assert total.backends["b"].connections == 40


def test_even_the_last_request_finds_another_connection() -> None:
    with Stage(requests=2, rate=100.0).begin() as stage:
        stage.accept()
        stage.turn()
        stage.head()
        stage.say(ANSWER)
        stage.fin()
        stage.wait()
        assert stage.nobody_connects()  # there may be no more requests
        stage.turn()
        stage.accept()
        stage.head()
        stage.say(ANSWER)
        assert stage.over
        assert (stage.tally.requests, stage.tally.errors, stage.tally.connections) == (2, 0, 2)


def test_a_connection_that_ends_with_an_answer_is_replaced_at_once() -> None:
    with Stage(requests=2, rate=100.0).begin() as stage:
        stage.accept()
        stage.turn()
        stage.head()
        stage.end.sendall(ANSWER)
        stage.fin()
        stage.wait()
        stage.accept()
        stage.turn()
        stage.head()
        stage.say(ANSWER)
        assert stage.over
        assert (stage.tally.requests, stage.tally.errors, stage.tally.connections) == (2, 0, 2)


def test_the_time_that_it_takes_to_connect_again_is_part_of_the_latency() -> None:
    with Stage(requests=2, rate=100.0).begin() as stage:
        stage.accept()
        stage.turn()
        stage.head()
        stage.say(ANSWER)
        stage.fin()
        stage.wait()
        long_ago = 10_000_000_000
        stage.turn(ago=long_ago)
        stage.accept()
        stage.head()
        stage.say(ANSWER)
        assert at_least(stage.tally.latency, 9.9) == 1
        assert at_least(stage.tally.first_byte, 9.9) == 0


def test_a_request_that_finds_no_other_connection_has_failed_once() -> None:
    with Stage(requests=2, rate=100.0).begin() as stage:
        stage.accept()
        stage.turn()
        stage.head()
        stage.say(ANSWER)
        stage.fin()
        stage.wait()
        stage.refuse()
        stage.turn()
        assert (stage.tally.requests, dict(stage.tally.failures)) == (1, {REFUSED: 1})
        stage.resume_with(TURN)  # after its pause
        assert stage.over


async def test_each_is_counted_once_when_the_target_ends() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        target = http(_Address(listener))
        wanted = job(target, Mode.REQUEST, connections=1, rate=50.0, count=2)
        running = asyncio.create_task(load(wanted))
        sock, _ = await loop.sock_accept(listener)
    peer = Peer(sock)
    await answer_once(peer)
    peer.close()
    total = (await running).total
    assert (total.requests, total.errors) == (1, 1)


class _Address:
    """Where a socket listens."""

    def __init__(self, listener: socket.socket) -> None:
        self.host, self.port = listener.getsockname()

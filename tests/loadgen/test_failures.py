"""Targets that fail: each failure has its name and is counted once, and the load goes on."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random

import pytest

from echo_backends import EchoServer, Faults
from tcplb.loadgen.client import TURN
from tcplb.loadgen.clients.churn import LIVES
from tcplb.loadgen.clients.idle import CLOSED
from tcplb.loadgen.echo import CLOSED_BEFORE, CLOSED_WITHIN, WRONG_BYTES
from tcplb.loadgen.job import Job, Mode
from tcplb.loadgen.naming import QUESTION
from tcplb.loadgen.run import Run
from tcplb.loadgen.tally import Served, Tally
from tests.loadgen.loads import http, job, load, load_here, tcp
from tests.loadgen.stage import Stage
from tests.loadgen.test_open_loop import head
from tests.peers import Net, Peer, eventually

REFUSED = "connection refused"
RESET = "connection reset"
SILENT = "no answer in time"
ANSWER = b"HTTP/1.1 200 OK\r\nX-Backend: b\r\nContent-Length: 2\r\n\r\nhi"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
NAME = b"\0tcplb I am b\n"


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    net = Net()
    yield net
    await net.close()


async def failed(wanted: Job, faults: Faults | None = None) -> Tally:
    """The tally of a load of 20 requests, none of which can succeed."""
    wanted = replace(wanted, count=20)
    if faults is None:
        total = await load_here(wanted)
    else:
        async with EchoServer(faults) as server:
            target = replace(wanted.target, address=server.host, port=server.port)
            total = await load_here(replace(wanted, target=target))
    assert total.requests == total.latency.count == 0
    assert total.errors == 20
    return total


FAULTY = EchoServer()
"""Stands for a server with faults, which gets an address only when it is started."""

# -- one kind of failure at a time ---------------------------------------------------------------


@pytest.mark.parametrize("mode", [Mode.REQUEST, Mode.CONNECT, Mode.CONNECT_ONLY, Mode.ECHO])
async def test_nobody_listens(net: Net, mode: Mode) -> None:
    total = await failed(job(http(net.refusing()), mode))
    assert dict(total.failures) == {REFUSED: 20}
    assert total.connections == 0


@pytest.mark.parametrize("mode", [Mode.REQUEST, Mode.CONNECT])
@pytest.mark.parametrize(
    ("faults", "cause"),
    [
        (Faults(reset_after=20), RESET),
        (Faults(reset_after=100), RESET),
        (Faults(close_after=0), CLOSED_BEFORE),
        (Faults(close_after=20), CLOSED_WITHIN),
        (Faults(close_after=150), CLOSED_WITHIN),
        (Faults(greeting=b"220 hello\r\n"), "not an HTTP/1.1 answer"),
    ],
    ids=str,
)
async def test_an_http_server_fails(mode: Mode, faults: Faults, cause: str) -> None:
    total = await failed(job(http(FAULTY), mode), faults)
    assert dict(total.failures) == {cause: 20}


@pytest.mark.parametrize("mode", [Mode.ECHO, Mode.CONNECT])
@pytest.mark.parametrize(
    ("faults", "cause"),
    [
        (Faults(reset_after=5), RESET),
        (Faults(reset_after=50), RESET),
        (Faults(close_after=0), CLOSED_BEFORE),
        (Faults(close_after=5), CLOSED_WITHIN),
        (Faults(close_after=60), CLOSED_WITHIN),
        (Faults(greeting=b"220 hello\r\n"), WRONG_BYTES),
        (Faults(greeting=b"SSH-2.0-x"), WRONG_BYTES),
    ],
    ids=str,
)
async def test_an_echo_server_fails(mode: Mode, faults: Faults, cause: str) -> None:
    total = await failed(job(tcp(FAULTY), mode), faults)
    assert dict(total.failures) == {cause: 20}


@pytest.mark.parametrize("mode", [Mode.ECHO, Mode.CONNECT])
async def test_connections_are_reset_at_once(mode: Mode) -> None:
    total = await failed(job(tcp(FAULTY), mode), Faults(reset_after=0))
    # Even connect(2) may notice it.
    assert set(total.failures) <= {RESET, "software caused connection abort"}


async def test_wrong_bytes_come_back(net: Net) -> None:
    async def wrong(peer: Peer) -> None:
        await peer.receive(len(QUESTION))
        payload = await peer.receive(64)
        await peer.send(QUESTION + payload[:32] + bytes([payload[32] ^ 128]) + payload[33:])
        await peer.until_end()

    total = await failed(job(tcp(net.server().serve(wrong)), Mode.ECHO))
    assert dict(total.failures) == {WRONG_BYTES: 20}


async def test_the_server_says_no(net: Net) -> None:
    async def unavailable(peer: Peer) -> None:
        while await head(peer):
            peer.put(UNAVAILABLE)

    server = net.server().serve(unavailable)
    total = await failed(job(http(server), Mode.REQUEST))
    assert dict(total.failures) == {"HTTP status 503": 20}
    assert dict(total.statuses) == {503: 20}
    assert server.accepted == 4


@pytest.mark.parametrize("mode", [Mode.REQUEST, Mode.CONNECT, Mode.ECHO])
async def test_there_is_no_answer(mode: Mode) -> None:
    wanted = job(http(FAULTY), mode, connections=20, timeout=0.2)
    total = await failed(wanted, Faults(stall=True))
    assert dict(total.failures) == {SILENT: 20}
    assert total.connections == 20


async def test_half_an_answer_is_no_answer_in_time(net: Net) -> None:
    async def half(peer: Peer) -> None:
        await head(peer)
        await peer.send(ANSWER[:-1])
        await peer.until_end()

    target = http(net.server().serve(half))
    total = await failed(job(target, Mode.REQUEST, connections=20, timeout=0.2))
    assert dict(total.failures) == {SILENT: 20}


@pytest.mark.parametrize("mode", [Mode.REQUEST, Mode.CONNECT, Mode.CONNECT_ONLY])
async def test_there_is_no_connection(net: Net, mode: Mode) -> None:
    wanted = job(http(net.blackhole()), mode, connections=20, timeout=0.2)
    total = await failed(wanted)
    assert dict(total.failures) == {"no connection in time": 20}
    assert total.connections == total.open == 0


async def test_connections_that_come_late_do_not_make_more_requests_than_wanted(net: Net) -> None:
    hole = net.blackhole()
    target = http(hole)
    running = asyncio.create_task(load(job(target, Mode.REQUEST, connections=9, count=2)))
    # The kernel sends a SYN that was dropped again after a second, and all nine come at once.
    await eventually(lambda: syns_sent(hole.port) == 9)
    await hole.close()
    server = net.server(port=hole.port)
    requests = 0

    async def answer(peer: Peer) -> None:
        nonlocal requests
        while await head(peer):
            requests += 1
            peer.put(ANSWER)

    server.serve(answer)
    total = (await running).total
    assert (total.requests, total.errors, requests) == (2, 0, 2)
    assert total.connections > 2


def syns_sent(port: int) -> int:
    """How many sockets of this machine try to connect to a port."""
    with open("/proc/net/tcp") as table:  # noqa: PTH123
        rows = [line.split() for line in table]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "02" for row in rows[1:])


# -- all kinds at once, and the way back ---------------------------------------------------------


@pytest.mark.parametrize("rate", [None, 1000.0])
async def test_each_request_is_answered_or_has_failed_once(net: Net, rate: float | None) -> None:
    numbers = itertools.count(1)
    good = 0

    async def moody(peer: Peer) -> None:
        nonlocal good
        while await head(peer):
            number = next(numbers)
            if number % 11 == 0:
                peer.reset()
                return
            if number % 7 == 0:
                peer.put(ANSWER[:-1])
                return
            if number % 5 == 0:
                peer.put(UNAVAILABLE)
                continue
            good += 1
            peer.put(ANSWER)

    target = http(net.server().serve(moody))
    total = await load_here(job(target, Mode.REQUEST, connections=8, count=300, rate=rate))
    assert total.requests == good
    assert total.requests + total.errors == next(numbers) - 1 == 300
    assert dict(total.failures) == {
        RESET: 300 // 11,
        CLOSED_WITHIN: 300 // 7 - 300 // 77,
        "HTTP status 503": 300 // 5 - 300 // 35 - 300 // 55,
    }


@pytest.mark.parametrize(
    ("mode", "rate"),
    [(Mode.REQUEST, None), (Mode.REQUEST, 500.0), (Mode.CONNECT, 500.0), (Mode.ECHO, None)],
)
async def test_the_load_goes_on_when_the_target_is_back(mode: Mode, rate: float | None) -> None:
    causes: set[str] = set()
    async with EchoServer() as first:
        target = http(first, "/echo")
        run = Run(
            job(target, mode, rate=rate), on_tick=lambda _, tally: causes.update(tally.failures)
        )
        running = asyncio.create_task(run.run())
        await eventually(lambda: first.requests > 20)
    await eventually(lambda: REFUSED in causes)
    async with EchoServer(port=first.port) as second:
        await eventually(lambda: second.requests > 20)
        run.stop()
        total = (await running).total
    assert total.failures.keys() <= {REFUSED, RESET, CLOSED_BEFORE, CLOSED_WITHIN}
    # Four clients: so many answers at most were on their way when one or the other ended.
    assert 0 <= first.requests + second.requests - total.requests <= 8
    assert total.backends[first.address].requests == total.requests


# -- while nothing is said -----------------------------------------------------------------------


@pytest.mark.parametrize(("ending", "cause"), [("fin", CLOSED), ("reset", RESET)])
async def test_idle_connections_that_end_are_failures_and_are_replaced(
    net: Net, ending: str, cause: str
) -> None:
    numbers = itertools.count(1)
    all_hold = asyncio.Event()

    async def hold(peer: Peer) -> None:
        number = next(numbers)
        await peer.receive(len(QUESTION))
        await peer.send(NAME + await peer.receive(64))
        if number == 5:
            all_hold.set()
        if number < 5:
            await all_hold.wait()
            await peer.delivered()
            getattr(peer, ending)()
            return
        while data := await peer.receive_some():
            await peer.send(data)

    server = net.server().serve(hold)
    total = (await load(job(tcp(server), Mode.IDLE, connections=5, duration=0.7))).total
    assert dict(total.failures) == {cause: 4}
    # Five and four proved that they reach somebody, and five that they still do in the end.
    assert total.requests == 14
    assert total.connections == server.accepted == 9
    assert total.backends == {"b": Served(14, 9)}


def idle_stage() -> Stage:
    stage = Stage(Mode.IDLE, path=None).begin()
    stage.accept()
    stage.heard(len(QUESTION))
    return stage


def test_an_idle_connection_that_is_reset_is_held_no_more() -> None:
    with idle_stage() as stage:
        stage.say(NAME + stage.heard(64))
        assert stage.loop.holding == {stage.client}
        stage.reset()
        stage.wait()
        assert dict(stage.tally.failures) == {RESET: 1}
        assert stage.loop.holding == set()


def test_an_end_that_comes_with_the_first_answer_is_noticed() -> None:
    with idle_stage() as stage:
        stage.end.sendall(NAME + stage.heard(64))
        stage.fin()
        stage.wait()
        assert (stage.tally.requests, dict(stage.tally.failures)) == (1, {CLOSED: 1})
        assert stage.loop.holding == set()


def seed_of(life: str) -> int:
    """A seed with which this is the first life of `churn`."""
    lives, weights = list(LIVES), list(LIVES.values())
    return next(seed for seed in range(999) if Random(seed).choices(lives, weights) == [life])


@pytest.mark.parametrize("ends", [True, False])
def test_a_quiet_connection_of_churn_is_watched_too(*, ends: bool) -> None:
    with Stage(Mode.CHURN, requests=2, seed=seed_of("quiet")).begin() as stage:
        stage.accept()
        stage.head()
        stage.say(ANSWER)
        if ends:
            stage.fin()
            stage.wait()
        stage.resume_with(TURN)  # after its pause
        if not ends:
            stage.head()
            stage.say(ANSWER)
        expected = (1, {CLOSED: 1}) if ends else (2, {})
        assert (stage.tally.requests, dict(stage.tally.failures)) == expected


def test_a_connection_of_churn_that_ends_between_two_turns_is_replaced() -> None:
    with Stage(Mode.CHURN, requests=2, seed=seed_of("some"), rate=100.0).begin() as stage:
        stage.turn()
        stage.accept()
        stage.head()
        stage.say(ANSWER)
        stage.fin()
        stage.wait()
        stage.turn()
        stage.accept()
        assert (stage.tally.requests, stage.tally.errors) == (1, 0)


def test_churn_resets_connections_too() -> None:
    with Stage(Mode.CHURN, seed=seed_of("reset")).begin() as stage:
        stage.accept()
        stage.head()
        stage.say(ANSWER)
        assert stage.over
        with pytest.raises(ConnectionResetError):
            stage.end.recv(1)
        assert (stage.tally.requests, stage.tally.open) == (1, 0)


def test_a_server_that_closes_after_an_answer_has_not_cut_a_quiet_connection() -> None:
    with Stage(Mode.CHURN, requests=2, seed=seed_of("quiet")).begin() as stage:
        stage.accept()
        stage.head()
        stage.end.sendall(ANSWER)
        stage.fin()
        stage.wait()
        stage.accept()
        assert (stage.tally.requests, stage.tally.errors) == (1, 0)


def test_an_idle_connection_that_is_good_to_the_end() -> None:
    with idle_stage() as stage:
        stage.say(NAME + stage.heard(64))
        stage.end_hold()
        stage.say(stage.heard(64))
        assert stage.over
        assert (stage.tally.requests, stage.tally.errors) == (2, 0)
        assert stage.loop.holding == set()

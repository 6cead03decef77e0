"""What the modes do, beside requests and connections: much data, idle connections, all mixed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from itertools import dropwhile

import pytest

from echo_backends import EchoServer
from echo_backends.naming import answer
from tcplb.loadgen.job import Mode
from tcplb.loadgen.naming import QUESTION
from tcplb.loadgen.tally import Served
from tests.loadgen.loads import has_ipv6, http, job, load, tcp
from tests.loadgen.test_open_loop import ANSWER, head
from tests.peers import Net, Peer, echo, eventually

MIB = 1 << 20


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    net = Net()
    yield net
    await net.close()


@pytest.fixture
async def server() -> AsyncIterator[EchoServer]:
    async with EchoServer() as server:
        yield server


# -- much data ---------------------------------------------------------------------------------


async def test_all_that_is_sent_comes_back(net: Net) -> None:
    wanted = job(tcp(net.server().serve(echo)), Mode.BULK, connections=2, count=9, payload=MIB)
    total = (await load(wanted)).total
    assert (total.requests, total.errors, total.connections) == (9, 0, 2)
    assert total.bytes_sent == total.bytes_received == 9 * MIB + 2 * len(QUESTION)
    assert total.backends == {}


async def test_large_payloads_both_ways_at_once(server: EchoServer) -> None:
    wanted = job(tcp(server), Mode.BULK, connections=2, count=4, payload=8 * MIB)
    total = (await load(wanted, processes=2)).total
    assert (total.requests, total.errors) == (4, 0)
    assert server.echoed == 32 * MIB
    assert total.bytes_sent == 32 * MIB + 2 * len(QUESTION)
    assert total.bytes_received == 32 * MIB + 2 * len(answer(server.address))
    assert total.backends == {server.address: Served(4, 2)}


async def test_a_server_that_reads_little_at_a_time_and_keeps_nothing(net: Net) -> None:
    server = net.server(receive_buffer=4096).serve(echo)
    total = (await load(job(tcp(server), Mode.ECHO, connections=2, count=4, payload=MIB))).total
    assert (total.requests, total.errors) == (4, 0)
    assert total.bytes_sent == total.bytes_received == 4 * MIB + 2 * len(QUESTION)


async def test_uploads(server: EchoServer) -> None:
    wanted = job(http(server, "/upload"), Mode.BULK, connections=2, count=5, payload=2 * MIB)
    total = (await load(wanted)).total
    assert (total.requests, total.errors, server.requests) == (5, 0, 5)
    assert total.bytes_sent > 10 * MIB
    assert total.bytes_received < MIB


async def test_downloads(net: Net) -> None:
    body = b"x" * (3 * MIB)
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async def give(peer: Peer) -> None:
        while await head(peer):
            await peer.send(whole)

    target = http(net.server().serve(give))
    for mode in (Mode.BULK, Mode.REQUEST):
        total = (await load(job(target, mode, connections=2, count=7, payload=0))).total
        assert (total.requests, total.errors) == (7, 0)
        assert total.bytes_received == 7 * len(whole)


# -- connections that do nothing ---------------------------------------------------------------


@pytest.mark.parametrize("over_http", [True, False])
async def test_idle_connections_are_held_until_the_end(server: EchoServer, over_http: bool) -> None:
    held: list[int] = []
    target = http(server) if over_http else tcp(server)
    result = await load(
        job(target, Mode.IDLE, connections=20, duration=0.6),
        processes=2,
        on_tick=lambda at, _: held.extend([server.open_connections] if at < 0.6 else []),
    )
    total = result.total
    # One exchange at the beginning of each, and one at the end.
    assert (total.requests, total.errors) == (40, 0)
    assert total.connections == server.connections == total.open == 20
    assert total.backends == {server.address: Served(40, 20)}
    since_all_are_there = list(dropwhile(lambda number: number < 20, held))
    assert since_all_are_there
    assert set(since_all_are_there) == {20}
    await eventually(lambda: server.open_connections == 0)


async def test_connections_are_opened_one_after_the_other(server: EchoServer) -> None:
    wanted = job(http(server), Mode.REQUEST, connections=20, ramp=1.5, duration=1.75)
    result = await load(wanted, processes=2)
    first, second = (second.open for second in result.timeline)
    assert 0 < first < second == result.total.open == 20
    opened = [second.connections for second in result.timeline]
    assert sum(opened) == server.connections == 20
    assert all(opened)


# -- all of it mixed ---------------------------------------------------------------------------


@pytest.mark.parametrize("over_http", [True, False])
@pytest.mark.parametrize("rate", [None, 1000.0])
async def test_churn_does_what_was_wanted_and_leaves_nothing_open(
    server: EchoServer, over_http: bool, rate: float | None
) -> None:
    target = http(server, "/echo") if over_http else tcp(server)
    wanted = job(target, Mode.CHURN, connections=8, count=250, rate=rate, seed=7)
    total = (await load(wanted, processes=2)).total
    assert (total.requests, total.errors) == (250, 0)
    await eventually(lambda: server.connections >= total.connections)
    assert server.connections == total.connections
    only_connected = 250 - total.latency.count
    assert 0 < only_connected < 100
    assert sum(served.requests for served in total.backends.values()) == 250 - only_connected
    assert (server.requests if over_http else server.names_asked) > 0
    await eventually(lambda: server.open_connections == 0)


async def test_the_seed_decides_what_churn_does(server: EchoServer) -> None:
    async def connections(seed: int) -> int:
        changes = {"connections": 1, "count": 60, "seed": seed}
        return (await load(job(tcp(server), Mode.CHURN, **changes))).total.connections

    one, same, other = await asyncio.gather(*map(connections, (1, 1, 2)))
    assert one == same
    assert other != one


# -- where it comes from and where it goes -----------------------------------------------------


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
@pytest.mark.parametrize("mode", [Mode.REQUEST, Mode.CONNECT, Mode.CONNECT_ONLY, Mode.ECHO])
async def test_an_ipv6_target(mode: Mode) -> None:
    async with EchoServer(host="::1") as server:
        total = (await load(job(http(server, "/echo"), mode, count=30))).total
        assert (total.requests, total.errors) == (30, 0)
        await eventually(lambda: server.connections >= total.connections)
        assert server.connections == total.connections
        if mode is not Mode.CONNECT_ONLY:
            assert set(total.backends) == {f"[::1]:{server.port}"}


async def connected_from(net: Net, mode: Mode, processes: int) -> Counter[str]:
    """How many connections came from each address, of 16 from four sources."""
    seen: Counter[str] = Counter()

    async def note(peer: Peer) -> None:
        seen[peer.sock.getpeername()[0]] += 1
        while await head(peer):
            peer.put(ANSWER)

    target = http(net.server().serve(note))
    wanted = job(target, mode, connections=16, count=16, sources=4)
    total = (await load(wanted, processes=processes)).total
    assert (total.requests, total.errors, total.keys) == (16, 0, 4)
    return seen


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("mode", [Mode.CONNECT, Mode.REQUEST])
async def test_source_addresses_are_used_in_turns(net: Net, mode: Mode, processes: int) -> None:
    seen = await connected_from(net, mode, processes)
    assert set(seen) == {f"127.0.0.{number}" for number in (2, 3, 4, 5)}
    if mode is Mode.CONNECT:
        assert set(seen.values()) == {4}


async def test_one_source_address_is_that_of_the_machine(net: Net) -> None:
    peers = []

    async def note(peer: Peer) -> None:
        peers.append(peer.sock.getpeername()[0])
        await echo(peer)

    total = (await load(job(tcp(net.server().serve(note)), Mode.CONNECT, count=5))).total
    assert (total.requests, total.keys) == (5, 0)
    assert set(peers) == {"127.0.0.1"}

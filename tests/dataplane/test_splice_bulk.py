"""Bulk on the splice engine goes through pipes, and without them just as well."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from tcplb.dataplane.splice import SpliceEngine
from tcplb.dataplane.splice_pump import BUFFER_SIZE
from tests.dataplane.harness import MakeBalancer, backend, no_descriptors_left, pipes_lent
from tests.peers import Net, Peer, eventually, pattern

MIB = 1024 * 1024
SLOW = 16 * 1024


@pytest.fixture
async def engine(request: pytest.FixtureRequest) -> SpliceEngine:
    """With as many pipes as a test asks for, by an indirect parameter."""
    return SpliceEngine(request.param) if hasattr(request, "param") else SpliceEngine()


def with_pipes(*limits: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("engine", limits, indirect=True)


async def carry(sender: Peer, reader: Peer, payload: bytes) -> None:
    """Send `payload` and check what arrives."""
    async with asyncio.TaskGroup() as group:
        group.create_task(sender.send(payload))
        received = group.create_task(reader.receive(len(payload)))
    assert hashlib.sha256(received.result()).digest() == hashlib.sha256(payload).digest()


async def end(client: Peer, upstream: Peer) -> None:
    client.fin()
    upstream.fin()
    assert (await client.ending(), await upstream.ending()) == ("fin", "fin")


SIZES = [BUFFER_SIZE * times + more for times in (1, 2, 3, 16) for more in (-1, 0, 1)]


@with_pipes(0, 64)
@pytest.mark.parametrize("size", SIZES)
async def test_about_a_multiple_of_the_buffer_both_ways_at_once_and_then_nothing(
    net: Net, balancer: MakeBalancer, size: int
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    async with asyncio.TaskGroup() as group:
        group.create_task(carry(client, upstream, pattern(size, 1)))
        group.create_task(carry(upstream, client, pattern(size, 2)))
    await carry(client, upstream, b"and a small one")
    await carry(upstream, client, b"and its answer")
    await end(client, upstream)
    record = await lb.record()
    assert (record.bytes_up, record.bytes_down) == (size + 15, size + 14)


@pytest.mark.parametrize("who", ["client", "backend"])
async def test_bulk_that_turns_small_gives_its_pipe_back_and_takes_one_again(
    net: Net, balancer: MakeBalancer, who: str
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    sender, reader = (client, upstream) if who == "client" else (upstream, client)
    for turn in range(3):
        sending = asyncio.create_task(sender.send(pattern(16 * MIB, turn)))
        await eventually(lambda: pipes_lent(lb.engine) == 1)
        assert await reader.receive(16 * MIB) == pattern(16 * MIB, turn)
        await sending
        for number in range(5):
            await carry(sender, reader, b"small %d" % number)
            await carry(reader, sender, b"answer %d" % number)
        assert pipes_lent(lb.engine) == 0
    await end(client, upstream)


@pytest.mark.parametrize("size", [BUFFER_SIZE, 2 * BUFFER_SIZE, 16 * MIB])
async def test_session_that_has_sent_bulk_and_says_no_more_keeps_no_pipe(
    net: Net, balancer: MakeBalancer, size: int
) -> None:
    """Kept connections may be quiet for an hour; others need the pipes."""
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    await carry(upstream, client, pattern(size))
    await eventually(lambda: pipes_lent(lb.engine) == 0)
    await carry(client, upstream, b"still there")
    await end(client, upstream)


@pytest.mark.parametrize("who", ["client", "backend"])
async def test_no_descriptor_for_a_pipe_means_copying(
    net: Net, balancer: MakeBalancer, who: str
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    sender, reader = (client, upstream) if who == "client" else (upstream, client)
    with no_descriptors_left():
        await carry(sender, reader, pattern(8 * MIB))
        assert pipes_lent(lb.engine) == 0
    sending = asyncio.create_task(sender.send(pattern(16 * MIB, 2)))  # there are some again
    await eventually(lambda: pipes_lent(lb.engine) == 1)
    assert await reader.receive(16 * MIB) == pattern(16 * MIB, 2)
    await sending
    await end(client, upstream)


@with_pipes(0, 1, 3)
async def test_more_bulk_flows_than_pipes(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server))
    pairs = [await lb.pair(net, server) for _ in range(4)]
    async with asyncio.TaskGroup() as group:
        for number, (client, upstream) in enumerate(pairs):
            group.create_task(carry(client, upstream, pattern(3 * MIB, number)))
            group.create_task(carry(upstream, client, pattern(3 * MIB, number + 100)))
    for pair in pairs:
        await end(*pair)
    for _ in pairs:
        record = await lb.record()
        assert record.bytes_up == record.bytes_down == 3 * MIB
    assert pipes_lent(lb.engine) == 0


@with_pipes(1)
async def test_stalled_flow_keeps_its_pipe_and_the_others_copy(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    stalled = await net.client(lb.address, receive_buffer=SLOW)
    upstream = await server.accept()
    payload = pattern(32 * MIB)
    sent = await upstream.flood(payload)
    assert pipes_lent(lb.engine) == 1

    pair = await lb.pair(net, server)
    await carry(*pair, pattern(4 * MIB, 1))
    await end(*pair)

    upstream.fin()
    data, ending = await stalled.until_end()
    assert ending == "fin"
    assert hashlib.sha256(data).digest() == hashlib.sha256(payload[:sent]).digest()
    assert pipes_lent(lb.engine) == 0


@with_pipes(0, 64)
@pytest.mark.parametrize("who", ["client", "backend"])
async def test_reader_in_fits_and_starts(net: Net, balancer: MakeBalancer, who: str) -> None:
    """The flow stops and goes on hundreds of times, in the midst of a pipe or a buffer."""
    server = net.server(receive_buffer=SLOW if who == "client" else 0)
    lb = balancer(backend(server))
    client = await net.client(lb.address, receive_buffer=SLOW if who == "backend" else 0)
    upstream = await server.accept()
    sender, reader = (client, upstream) if who == "client" else (upstream, client)
    payload = pattern(6 * MIB)
    sending = asyncio.create_task(sender.send(payload))
    received = bytearray()
    while len(received) < len(payload):
        received += await reader.receive(min(20_000, len(payload) - len(received)))
    assert received == payload
    await sending
    await end(client, upstream)

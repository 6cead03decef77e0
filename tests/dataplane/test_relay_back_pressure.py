"""A reader that has stopped stops the sender; what is held in between is bounded."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import tracemalloc
from collections.abc import Iterator

import pytest

from tests.dataplane.harness import MakeBalancer, backend
from tests.peers import PATIENCE, Net, Peer, pattern

MIB = 1024 * 1024
TOTAL = 64 * MIB
SLOW = 16 * 1024


@pytest.fixture
def traced() -> Iterator[None]:
    gc.collect()
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("who", ["client", "backend"])
async def test_large_transfer_to_a_reader_that_has_stopped(
    net: Net, balancer: MakeBalancer, traced: None, who: str
) -> None:
    server = net.server(receive_buffer=SLOW if who == "client" else 0)
    lb = balancer(backend(server))
    client = await net.client(lb.address, receive_buffer=SLOW if who == "backend" else 0)
    upstream = await server.accept()
    sender, reader = (client, upstream) if who == "client" else (upstream, client)
    payload = pattern(TOTAL)

    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    sent = await sender.flood(payload)
    _, peak = tracemalloc.get_traced_memory()
    assert sent < TOTAL  # the kernel's buffers cannot hold it all, and neither may the balancer
    assert peak - before < MIB

    # It resumes, and takes in more at a time from here on.
    reader.sock.setsockopt(1, 8, MIB)  # SOL_SOCKET, SO_RCVBUF
    async with asyncio.TaskGroup() as group:
        group.create_task(_send_rest(sender, memoryview(payload)[sent:]))
        digest = group.create_task(_digest(reader, TOTAL))
    assert digest.result() == hashlib.sha256(payload).digest()
    _, peak = tracemalloc.get_traced_memory()
    assert peak - before < 3 * MIB  # with what the test itself holds to receive

    reader.fin()
    assert await sender.ending() == "fin"
    record = await lb.record()
    assert max(record.bytes_up, record.bytes_down) == TOTAL


async def test_a_stopped_direction_does_not_stop_the_other(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client = await net.client(lb.address, receive_buffer=SLOW)
    upstream = await server.accept()
    await upstream.flood(pattern(32 * MIB))

    upload = pattern(4 * MIB, seed=2)
    async with asyncio.TaskGroup() as group:
        group.create_task(client.send(upload))
        received = group.create_task(upstream.receive(len(upload)))
    assert received.result() == upload
    client.reset()
    assert await upstream.ending() == "reset"


async def test_a_stopped_session_does_not_stop_the_others(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server))
    stopped = await net.client(lb.address, receive_buffer=SLOW)
    upstream = await server.accept()
    await upstream.flood(pattern(32 * MIB))

    client, other = await lb.pair(net, server)
    await client.send(b"still there?")
    assert await other.receive(12) == b"still there?"
    await other.send(b"yes")
    assert await client.receive(3) == b"yes"
    stopped.reset()
    assert await upstream.ending() == "reset"


async def _send_rest(sender: Peer, rest: memoryview) -> None:
    async with asyncio.timeout(2 * PATIENCE):
        while rest:
            await sender.send(rest[:MIB])
            rest = rest[MIB:]
    sender.fin()


async def _digest(reader: Peer, expected: int) -> bytes:
    digest, size = hashlib.sha256(), 0
    while data := await reader.receive_some():
        digest.update(data)
        size += len(data)
    assert size == expected
    return digest.digest()

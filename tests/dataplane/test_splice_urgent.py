"""Urgent data (MSG_OOB) is nothing special: it may be dropped, and all other bytes arrive."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.dataplane.harness import MakeBalancer, backend
from tests.peers import Net, Peer, pattern

SIZES = [0, 1, 10, 65_535, 65_536, 65_537, 100_000, 1_000_000]
SIDES = pytest.mark.parametrize("who", ["client", "backend"])


async def pair(net: Net, balancer: MakeBalancer, who: str) -> tuple[Peer, Peer]:
    """Open a session; return the one who sends, and the other."""
    server = net.server()
    client, upstream = await balancer(backend(server)).pair(net, server)
    return (client, upstream) if who == "client" else (upstream, client)


def put_urgent(peer: Peer) -> None:
    assert peer.sock.send(b"!", socket.MSG_OOB) == 1


async def read_past_urgent(peer: Peer, before: bytes, after: bytes) -> None:
    """Check that `before` and `after` come, with or without the urgent byte in between."""
    assert await peer.receive(len(before)) == before
    first = await peer.receive(1)
    expected = after if first == b"!" else after[1:]
    assert first in (b"!", after[:1])
    assert await peer.receive(len(expected)) == expected


@SIDES
@pytest.mark.parametrize("size", SIZES)
async def test_bytes_around_an_urgent_one_arrive_though_nothing_follows(
    net: Net, balancer: MakeBalancer, who: str, size: int
) -> None:
    sender, reader = await pair(net, balancer, who)
    before, after = pattern(size, 1), b"." + pattern(size, 2)
    reading = asyncio.create_task(read_past_urgent(reader, before, after))
    await sender.send(before)
    put_urgent(sender)
    await sender.send(after)
    await reading
    await reader.send(b"got it")
    assert await sender.receive(6) == b"got it"


@SIDES
@pytest.mark.parametrize("size", SIZES)
async def test_bytes_around_an_urgent_one_arrive_before_the_fin(
    net: Net, balancer: MakeBalancer, who: str, size: int
) -> None:
    sender, reader = await pair(net, balancer, who)
    before, after = pattern(size, 1), pattern(size, 2)
    reading = asyncio.create_task(reader.until_end())
    await sender.send(before)
    put_urgent(sender)
    await sender.send(after)
    sender.fin()
    data, ending = await reading
    assert ending == "fin"
    assert data in (before + after, before + b"!" + after)


@SIDES
@pytest.mark.parametrize("size", [0, 1, 10, 30_000])
async def test_bytes_and_urgent_byte_and_fin_are_there_before_the_balancer_looks(
    net: Net, balancer: MakeBalancer, who: str, size: int
) -> None:
    sender, reader = await pair(net, balancer, who)
    before, after = pattern(size, 1), pattern(size, 2)
    sender.put(before)
    put_urgent(sender)
    sender.put(after)
    sender.fin()
    data, ending = await reader.until_end()
    assert ending == "fin"
    assert data in (before + after, before + b"!" + after)


@SIDES
async def test_urgent_byte_by_itself_ends_nothing(
    net: Net, balancer: MakeBalancer, who: str
) -> None:
    sender, reader = await pair(net, balancer, who)
    for _ in range(5):
        put_urgent(sender)
        await sender.delivered()
        await reader.send(b"hello")
        assert await sender.receive(5) == b"hello"
    sender.put(b"end.")
    sender.fin()
    data, ending = await reader.until_end()
    assert ending == "fin"
    assert data.replace(b"!", b"") == b"end."


@SIDES
async def test_many_urgent_bytes_in_a_stream(net: Net, balancer: MakeBalancer, who: str) -> None:
    sender, reader = await pair(net, balancer, who)
    pieces = [b"%d " % number * (1 + number * 50) for number in range(200)]

    async def send() -> None:
        for number, piece in enumerate(pieces):
            await sender.send(piece)
            if number % 3 == 0:
                put_urgent(sender)
            if number % 7 == 0:
                await asyncio.sleep(0)
        sender.fin()

    sending = asyncio.create_task(send())
    data, ending = await reader.until_end()
    await sending
    assert ending == "fin"
    assert data.replace(b"!", b"") == b"".join(pieces)


@SIDES
async def test_urgent_byte_in_bulk_that_waits_for_its_reader(
    net: Net, balancer: MakeBalancer, who: str
) -> None:
    """All is stuck when it comes, so it lies in the middle of what is read in one go."""
    sender, reader = await pair(net, balancer, who)
    before, after = pattern(20_000_000, 1), b"." + pattern(2_000_000, 2)
    sent = await sender.flood(before)
    reading = asyncio.create_task(read_past_urgent(reader, before, after))
    await sender.send(memoryview(before)[sent:])
    put_urgent(sender)
    await sender.send(after)
    await reading

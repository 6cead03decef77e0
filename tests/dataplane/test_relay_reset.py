"""A reset is forwarded as a reset, and never over bytes that can still be delivered."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tcplb.dataplane.engine import Timeouts
from tcplb.dataplane.termination import Termination
from tests.dataplane.harness import Balancer, MakeBalancer, backend
from tests.peers import Net, Peer, pattern

MIB = 1024 * 1024
SLOW = 16 * 1024
"""The receive buffer of a slow reader."""


async def test_clients_reset_reaches_the_backend_as_a_reset(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    await client.send(b"some bytes")
    assert await upstream.receive(10) == b"some bytes"
    client.reset()
    assert await upstream.ending() == "reset"
    record = await lb.record()
    assert record.termination is Termination.CLIENT_RESET
    assert record.bytes_up == 10


async def test_backends_reset_reaches_the_client_as_a_reset(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    await upstream.send(b"some bytes")
    assert await client.receive(10) == b"some bytes"
    upstream.reset()
    assert await client.ending() == "reset"
    record = await lb.record()
    assert record.termination is Termination.BACKEND_RESET
    assert record.bytes_down == 10


@pytest.mark.parametrize("who", ["client", "backend"])
async def test_reset_at_once_after_the_last_bytes(
    net: Net, balancer: MakeBalancer, who: str
) -> None:
    """Both are there when the balancer looks, and are told to it in one event."""
    server = net.server()
    lb = balancer(backend(server))
    for size in (1, 1000, 50_000):
        client, upstream = await lb.pair(net, server)
        sender, reader = (client, upstream) if who == "client" else (upstream, client)
        await sender.send(b"the session is up")
        await reader.receive(17)
        assert sender.send_what_fits(memoryview(pattern(size))) == size
        while sender.unacknowledged():  # no await: the balancer must not run in between
            pass
        sender.reset()
        assert await reader.until_end() == (pattern(size), "reset")
        record = await lb.record()
        expected = Termination.CLIENT_RESET if who == "client" else Termination.BACKEND_RESET
        assert record.termination is expected


@pytest.mark.parametrize("who", ["client", "backend"])
async def test_reset_after_the_other_direction_has_ended(
    net: Net, balancer: MakeBalancer, who: str
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    first, second = (client, upstream) if who == "backend" else (upstream, client)
    await first.send(b"half")
    first.fin()
    assert await second.until_end() == (b"half", "fin")
    await second.send(b"other half")
    assert await first.receive(10) == b"other half"
    second.reset()
    assert await first.ending() == "reset"
    record = await lb.record()
    expected = Termination.CLIENT_RESET if who == "client" else Termination.BACKEND_RESET
    assert record.termination is expected


async def ends_with_a_slow_reader(
    net: Net, balancer: MakeBalancer, sender: str
) -> tuple[Balancer, Peer, Peer]:
    """Open a session; return the sending end and the other one, which has a small buffer."""
    server = net.server(receive_buffer=SLOW if sender == "client" else 0)
    lb = balancer(backend(server))
    client = await net.client(lb.address, receive_buffer=SLOW if sender == "backend" else 0)
    upstream = await server.accept()
    return (lb, client, upstream) if sender == "client" else (lb, upstream, client)


@pytest.mark.parametrize("who", ["client", "backend"])
async def test_reset_never_overtakes_what_a_slow_reader_has_not_taken(
    net: Net, balancer: MakeBalancer, who: str
) -> None:
    lb, sender, reader = await ends_with_a_slow_reader(net, balancer, who)
    payload = pattern(32 * MIB)
    sent = await sender.flood(payload)
    delivered = sent - sender.unacknowledged()
    assert delivered > MIB  # more than is held in the balancer: its kernel has some, unread
    sender.reset()

    data, ending = await reader.until_end()
    assert ending == "reset"
    assert len(data) >= delivered
    assert data == payload[: len(data)]
    record = await lb.record()
    expected = Termination.CLIENT_RESET if who == "client" else Termination.BACKEND_RESET
    assert record.termination is expected
    assert len(data) in (record.bytes_up, record.bytes_down)


@pytest.mark.parametrize("who", ["client", "backend"])
async def test_reset_over_a_full_queue_towards_the_resetting_side(
    net: Net, balancer: MakeBalancer, who: str
) -> None:
    """Both directions are stuck. The RST makes one undeliverable; the other must still arrive."""
    lb, sender, reader = await ends_with_a_slow_reader(net, balancer, who)
    payload = pattern(32 * MIB)
    await reader.flood(pattern(32 * MIB, seed=1))  # nobody will ever read this
    sent = await sender.flood(payload)
    delivered = sent - sender.unacknowledged()
    sender.reset()

    data, ending = await reader.until_end()
    assert ending == "reset"
    assert len(data) >= delivered
    assert data == payload[: len(data)]
    expected = Termination.CLIENT_RESET if who == "client" else Termination.BACKEND_RESET
    assert (await lb.record()).termination is expected


async def test_answer_arrives_from_a_backend_that_refuses_the_rest_of_a_large_body(
    net: Net, balancer: MakeBalancer
) -> None:
    """It answers and closes with unread bytes, so the balancer's writes to it fail."""
    server = net.server()
    lb = balancer(backend(server))
    answer = b"HTTP/1.1 413 Content Too Large\r\n\r\n" + pattern(3000)
    for _ in range(10):
        client, upstream = await lb.pair(net, server)
        upload = asyncio.create_task(_send_until_reset(client, pattern(16 * MIB)))
        await upstream.receive(10)
        await upstream.send(answer)
        await upstream.delivered()
        upstream.close()
        assert await client.receive(len(answer)) == answer
        await upload
        assert (await lb.record()).termination is Termination.BACKEND_RESET


async def test_answer_that_waits_in_the_kernel_survives_a_failed_write(
    net: Net, balancer: MakeBalancer
) -> None:
    """The client is slow, so the balancer has not read all of the answer when its write fails."""
    server = net.server()
    lb = balancer(backend(server))
    client = await net.client(lb.address, receive_buffer=SLOW)
    upstream = await server.accept()
    payload = pattern(32 * MIB)
    sent = await upstream.flood(payload)
    delivered = sent - upstream.unacknowledged()
    upstream.reset()
    # Now the balancer does not know yet, for it is not reading. It learns of it by writing.
    for _ in range(3):
        await client.send(b"more of the request")
        await client.delivered()

    data, ending = await client.until_end()
    assert ending == "reset"
    assert len(data) >= delivered
    assert data == payload[: len(data)]
    assert (await lb.record()).termination is Termination.BACKEND_RESET


async def test_answer_of_a_backend_that_closed_is_complete_though_the_request_goes_on(
    net: Net, balancer: MakeBalancer
) -> None:
    """It sends its answer and a FIN, and is gone when the next bytes come: they meet a RST."""
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    await client.send(b"begin")
    assert await upstream.receive(5) == b"begin"
    await upstream.send(b"the answer")
    upstream.close()
    assert await client.receive(10) == b"the answer"
    await _send_until_reset(client, pattern(16 * MIB))
    assert (await lb.record()).termination is Termination.BACKEND_RESET


async def test_reset_waits_for_a_reader_no_longer_than_the_half_close_time_out(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server), timeouts=Timeouts(half_close=0.2))
    client = await net.client(lb.address, receive_buffer=SLOW)
    upstream = await server.accept()
    payload = pattern(500_000)
    await upstream.send(payload)
    await upstream.delivered()
    upstream.reset()
    record = await lb.record()
    assert record.termination is Termination.BACKEND_RESET
    data, ending = await client.until_end()
    assert ending == "reset"
    assert payload.startswith(data)
    assert len(data) < len(payload)


async def _send_until_reset(peer: Peer, data: bytes) -> None:
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        await peer.send(data)

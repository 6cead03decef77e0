"""Idle and half-close time-outs. Each is small here, and its effect is waited for."""

from __future__ import annotations

import asyncio
import select

from tcplb.dataplane.engine import Timeouts
from tcplb.dataplane.termination import Termination
from tests.dataplane.harness import MakeBalancer, backend
from tests.peers import Net, Peer, pattern

SHORT = 0.2
LONG = 60.0


async def test_idle_time_out_ends_both_sides(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server), timeouts=Timeouts(idle=SHORT))
    client, upstream = await lb.pair(net, server)
    await client.send(b"a")
    assert await upstream.receive(1) == b"a"

    assert await client.ending() == "fin"
    assert await upstream.ending() == "fin"
    record = await lb.record()
    assert record.termination is Termination.IDLE
    assert record.bytes_up == 1


async def test_idle_session_that_never_spoke(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server), timeouts=Timeouts(idle=SHORT))
    client, upstream = await lb.pair(net, server)
    assert await client.ending() == "fin"
    assert await upstream.ending() == "fin"
    assert (await lb.record()).termination is Termination.IDLE


async def test_traffic_in_one_direction_keeps_a_session_alive(
    net: Net, balancer: MakeBalancer
) -> None:
    """Other sessions with the same time-out are the clock: five of them expire meanwhile."""
    server = net.server()
    lb = balancer(backend(server), timeouts=Timeouts(idle=1.0))
    client, upstream = await lb.pair(net, server)
    for _ in range(3):
        idle_client, _ = await lb.pair(net, server)
        ended = False
        while not ended:
            await upstream.send(b"tick")
            assert await client.receive(4) == b"tick"
            ended = await _ends_within(idle_client, 0.02)
        assert (await lb.record()).termination is Termination.IDLE
    client.fin()
    assert await upstream.ending() == "fin"
    upstream.fin()
    assert await client.ending() == "fin"
    assert (await lb.record()).termination is Termination.NORMAL


async def test_client_that_stays_open_after_the_backend_has_ended(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server), timeouts=Timeouts(half_close=SHORT, idle=LONG))
    client, upstream = await lb.pair(net, server)
    await upstream.send(b"bye")
    upstream.fin()
    assert await client.until_end() == (b"bye", "fin")
    assert await upstream.ending() == "fin"
    assert (await lb.record()).termination is Termination.CLIENT_STAYED_OPEN


async def test_backend_that_stays_open_after_the_client_has_ended(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server), timeouts=Timeouts(half_close=SHORT, idle=LONG))
    client, upstream = await lb.pair(net, server)
    await client.send(b"bye")
    client.fin()
    assert await upstream.until_end() == (b"bye", "fin")
    assert await client.ending() == "fin"
    assert (await lb.record()).termination is Termination.BACKEND_STAYED_OPEN


async def test_idle_time_out_does_not_apply_to_a_half_closed_session(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server), timeouts=Timeouts(idle=SHORT, half_close=LONG))
    client, upstream = await lb.pair(net, server)
    client.fin()
    assert await upstream.ending() == "fin"
    for _ in range(2):
        other, _ = await lb.pair(net, server)
        assert await other.ending() == "fin"  # the time-out has passed here
        assert (await lb.record()).termination is Termination.IDLE
    await upstream.send(b"late")
    upstream.fin()
    assert await client.until_end() == (b"late", "fin")


async def test_stopped_reader_is_idle_though_its_buffers_are_full(
    net: Net, balancer: MakeBalancer
) -> None:
    """Bytes are lost then, so the reader must see a reset and not a FIN."""
    server = net.server()
    lb = balancer(backend(server), timeouts=Timeouts(idle=1.0))
    client = await net.client(lb.address, receive_buffer=16 * 1024)
    upstream = await server.accept()
    payload = pattern(32 * 1024 * 1024)
    await upstream.flood(payload)
    assert (await lb.record()).termination is Termination.IDLE
    data, ending = await client.until_end()
    assert ending == "reset"
    assert payload.startswith(data)


async def test_slow_reader_of_the_send_queue_alone_is_progress(
    net: Net, balancer: MakeBalancer
) -> None:
    """The backend has ended; the client takes what the balancer's kernel holds, bit by bit.

    No byte passes through the balancer any more, and yet it is not idle: another session with the
    same time-out expires, and then another, while this one lives.
    """
    server = net.server()
    lb = balancer(backend(server), timeouts=Timeouts(idle=LONG, half_close=1.0))
    client = await net.client(lb.address, receive_buffer=16 * 1024)
    upstream = await server.accept()
    payload = pattern(1_500_000)
    await upstream.send(payload)
    await upstream.delivered()
    upstream.reset()  # the balancer owes the client the rest, and then a reset

    received = b""
    for _ in range(2):
        stuck, other = await lb.pair(net, server)
        stuck.fin()
        assert await other.ending() == "fin"
        while not await _ends_within(stuck, 0.02):
            received += await client.receive(8 * 1024)
        assert (await lb.record()).termination is Termination.BACKEND_STAYED_OPEN
    assert len(received) < len(payload), "the client was too fast to show anything"
    rest, ending = await client.until_end()
    assert received + rest == payload
    assert ending == "reset"
    assert (await lb.record()).termination is Termination.BACKEND_RESET


async def _ends_within(peer: Peer, seconds: float) -> bool:
    """Whether the FIN of `peer`, which gets no bytes, comes within `seconds`."""
    readable, _, _ = await asyncio.to_thread(select.select, [peer.sock], [], [], seconds)
    return bool(readable) and peer.sock.recv(1) == b""

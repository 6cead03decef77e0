"""How sessions end on the splice engine, beyond what the tests of both engines show."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tcplb.dataplane.engine import Timeouts
from tcplb.dataplane.splice import SpliceEngine
from tcplb.dataplane.splice_pump import BUFFER_SIZE
from tcplb.dataplane.termination import Termination
from tcplb.policy.names import HashKey, StrategyName
from tcplb.policy.transition import State
from tests.dataplane.harness import Balancer, InOrder, MakeBalancer, backend, pipes_lent
from tests.peers import Net, Peer, Server, eventually, pattern

MIB = 1024 * 1024
SLOW = 16 * 1024
"""The receive buffer of a slow reader."""


@pytest.fixture
async def engine() -> SpliceEngine:
    return SpliceEngine()


def reset_by(who: str) -> Termination:
    return Termination.CLIENT_RESET if who == "client" else Termination.BACKEND_RESET


def was_reset(peer: Peer) -> bool:
    """Whether a reset came after the FIN. (Reading shows the FIN for ever.)"""
    return peer.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


async def check_that_bulk_is_right(net: Net, lb: Balancer, server: Server, seed: int = 7) -> None:
    """Send bulk both ways at once: no bytes may come out of a pipe that somebody else left."""
    client, upstream = await lb.pair(net, server)
    up, down = pattern(2 * MIB, seed), pattern(2 * MIB, seed + 1)
    async with asyncio.TaskGroup() as group:
        group.create_task(client.send(up))
        group.create_task(upstream.send(down))
        at_backend = group.create_task(upstream.receive(len(up)))
        at_client = group.create_task(client.receive(len(down)))
    assert (at_backend.result(), at_client.result()) == (up, down)
    client.fin()
    upstream.fin()
    assert (await client.ending(), await upstream.ending()) == ("fin", "fin")


async def fill(sender: Peer, payload: bytes, step: int = 256 * 1024) -> int:
    """Send of `payload` what goes, `step` bytes a turn; return how many the kernel has taken.

    It is all stuck when nothing has moved for some turns of the loop, which runs the balancer.
    """
    view, sent, still = memoryview(payload), 0, 0
    while still < 20:
        more = sender.send_what_fits(view[sent : sent + step])
        sent += more
        still = 0 if more else still + 1
        await asyncio.sleep(0 if more else 0.002)
    assert sent < len(payload)
    return sent


async def stalled(
    net: Net, lb: Balancer, server: Server, who: str, payload: bytes
) -> tuple[Peer, Peer, int]:
    """Open a session whose `who` sends till all is full; return sender, reader, bytes sent.

    (The server's receive buffer is its own.)
    """
    client = await net.client(lb.address, receive_buffer=SLOW if who == "backend" else 0)
    upstream = await server.accept()
    sender, reader = (client, upstream) if who == "client" else (upstream, client)
    sent = await fill(sender, payload)
    assert pipes_lent(lb.engine) == 1
    return sender, reader, sent


# -- both at once -------------------------------------------------------------------------------


@pytest.mark.parametrize("down", [0, 5, 50_000])
@pytest.mark.parametrize("up", [0, 5, 50_000])
async def test_both_fins_are_there_before_the_balancer_looks(
    net: Net, balancer: MakeBalancer, up: int, down: int
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    client.put(pattern(up, 1))
    upstream.put(pattern(down, 2))
    client.fin()
    upstream.fin()
    assert await client.until_end() == (pattern(down, 2), "fin")
    assert await upstream.until_end() == (pattern(up, 1), "fin")
    record = await lb.record()
    assert record.termination is Termination.NORMAL
    assert (record.bytes_up, record.bytes_down) == (up, down)


async def test_both_resets_are_there_before_the_balancer_looks(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    client.reset()
    upstream.reset()
    assert (await lb.record()).termination in (
        Termination.CLIENT_RESET,
        Termination.BACKEND_RESET,
    )


@pytest.mark.parametrize("who", ["client", "backend"])
async def test_fin_of_one_and_reset_of_the_other_are_there_before_the_balancer_looks(
    net: Net, balancer: MakeBalancer, who: str
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    first, second = (client, upstream) if who == "client" else (upstream, client)
    first.put(b"last words")
    first.fin()
    second.reset()
    assert await first.ending() == "reset"
    assert (await lb.record()).termination is reset_by("backend" if who == "client" else "client")


# -- resets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["client", "backend"])
async def test_reset_after_its_own_fin_is_noticed_at_once_and_forwarded(
    net: Net, balancer: MakeBalancer, who: str
) -> None:
    """Nothing moves, and no time-out is near: only the reset itself can tell."""
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    first, second = (client, upstream) if who == "client" else (upstream, client)
    await first.send(b"half")
    first.fin()
    assert await second.until_end() == (b"half", "fin")
    first.reset()
    assert (await lb.record()).termination is reset_by(who)
    await eventually(lambda: was_reset(second))


@pytest.mark.parametrize("who", ["client", "backend"])
@pytest.mark.parametrize("size", [0, 10, 50_000])
async def test_fin_and_reset_are_there_before_the_balancer_looks(
    net: Net, balancer: MakeBalancer, who: str, size: int
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    first, second = (client, upstream) if who == "client" else (upstream, client)
    first.put(pattern(size))
    first.fin()
    while first.unacknowledged():  # no await: the balancer must not run in between
        pass
    first.reset()
    data, ending = await second.until_end()
    assert data == pattern(size)
    assert (await lb.record()).termination is reset_by(who)
    await eventually(lambda: ending == "reset" or was_reset(second))


async def test_client_resets_while_a_dial_is_under_way_that_succeeds(
    net: Net, balancer: MakeBalancer
) -> None:
    port = net.blackhole()
    hole = backend(port, "hole")
    lb = balancer(hole)
    client = await net.client(lb.address)
    await eventually(lambda: lb.pool.active(hole) == 1)
    client.reset()
    port.relieve()
    record = await lb.record()
    assert record.termination is Termination.CLIENT_RESET_CONNECTING
    assert lb.pool.active(hole) == 0
    assert lb.pool.state(hole) is State.IN


async def test_client_resets_with_its_first_line_complete(net: Net, balancer: MakeBalancer) -> None:
    """Line and reset are there before the balancer looks: it may dial, but ends at once."""
    server = net.server()
    lb = balancer(backend(server), strategy=StrategyName.HASH, hash_key=HashKey.REQUEST)
    client = await net.client(lb.address)
    await eventually(lambda: lb.counters.active == 1)
    client.put(b"GET /x HTTP/1.1\r\n\r\n")
    while client.unacknowledged():
        pass
    client.reset()
    assert (await lb.record()).termination in (
        Termination.CLIENT_RESET_EARLY,
        Termination.CLIENT_RESET_CONNECTING,
        Termination.CLIENT_RESET,
    )


@pytest.mark.parametrize("who", ["client", "backend"])
async def test_reset_of_the_sender_with_the_pipe_full(
    net: Net, balancer: MakeBalancer, who: str
) -> None:
    """What it has sent goes to the reader, who takes his time, and the pipe is free again."""
    server = net.server(receive_buffer=SLOW if who == "client" else 0)
    lb = balancer(backend(server))
    payload = pattern(32 * MIB)
    sender, reader, sent = await stalled(net, lb, server, who, payload)
    delivered = sent - sender.unacknowledged()
    sender.reset()
    data, ending = await reader.until_end()
    assert ending == "reset"
    assert len(data) >= delivered
    assert data == payload[: len(data)]
    assert (await lb.record()).termination is reset_by(who)
    assert pipes_lent(lb.engine) == 0


@pytest.mark.parametrize("who", ["client", "backend"])
async def test_reset_of_the_reader_with_the_pipe_full(
    net: Net, balancer: MakeBalancer, who: str
) -> None:
    """What is left in the pipe is nobody's, and above all not the next session's."""
    server = net.server(receive_buffer=SLOW if who == "client" else 0)
    lb = balancer(backend(server))
    sender, reader, _ = await stalled(net, lb, server, who, pattern(32 * MIB))
    reader.reset()
    assert await sender.ending() == "reset"
    record = await lb.record()
    assert record.termination is reset_by("backend" if who == "client" else "client")
    assert pipes_lent(lb.engine) == 0
    await check_that_bulk_is_right(net, lb, server)


@pytest.mark.parametrize("who", ["client", "backend"])
async def test_fin_behind_a_full_pipe_and_then_a_reset_of_the_reader(
    net: Net, balancer: MakeBalancer, who: str
) -> None:
    server = net.server(receive_buffer=SLOW if who == "client" else 0)
    lb = balancer(backend(server))
    sender, reader, _ = await stalled(net, lb, server, who, pattern(32 * MIB))
    sender.fin()
    reader.reset()
    assert await sender.ending() == "reset"
    assert (await lb.record()).termination is reset_by("backend" if who == "client" else "client")
    assert pipes_lent(lb.engine) == 0


# -- a reader that has stopped ------------------------------------------------------------------


@pytest.mark.parametrize("who", ["client", "backend"])
async def test_fin_waits_behind_a_full_pipe(net: Net, balancer: MakeBalancer, who: str) -> None:
    server = net.server(receive_buffer=SLOW if who == "client" else 0)
    lb = balancer(backend(server))
    payload = pattern(32 * MIB)
    sender, reader, sent = await stalled(net, lb, server, who, payload)
    sender.fin()
    data, ending = await reader.until_end()
    assert ending == "fin"
    assert data == payload[:sent]
    reader.fin()
    assert await sender.ending() == "fin"
    assert (await lb.record()).termination is Termination.NORMAL
    assert pipes_lent(lb.engine) == 0


@pytest.mark.parametrize("fin", [False, True])
async def test_reader_that_never_resumes_costs_its_pipe_and_sees_a_reset(
    net: Net, balancer: MakeBalancer, *, fin: bool
) -> None:
    server = net.server()
    payload = pattern(32 * MIB)
    lb = balancer(backend(server), timeouts=Timeouts(idle=1.0))
    sender, reader, sent = await stalled(net, lb, server, "backend", payload)
    if fin:
        sender.fin()
    assert (await lb.record()).termination is Termination.IDLE
    data, ending = await reader.until_end()
    assert ending == "reset"
    assert payload[:sent].startswith(data)
    assert pipes_lent(lb.engine) == 0
    await check_that_bulk_is_right(net, lb, server)


# -- cut off ------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["client", "backend"])
async def test_killed_with_the_pipe_full(net: Net, balancer: MakeBalancer, who: str) -> None:
    server = net.server(receive_buffer=SLOW if who == "client" else 0)
    lb = balancer(backend(server))
    payload = pattern(32 * MIB)
    sender, reader, _ = await stalled(net, lb, server, who, payload)
    assert await lb.close() == 1
    assert await sender.ending() == "reset"
    data, ending = await reader.until_end()
    assert ending == "reset"
    assert payload.startswith(data)
    assert (await lb.record()).termination is Termination.KILLED
    assert pipes_lent(lb.engine) == 0


async def test_killed_while_bytes_wait_for_a_reader_that_has_stopped(
    net: Net, balancer: MakeBalancer
) -> None:
    """Small pieces, so that there is no pipe: the balancer itself holds what is left of one."""
    server = net.server()
    lb = balancer(backend(server))
    client = await net.client(lb.address, receive_buffer=SLOW)
    upstream = await server.accept()
    await fill(upstream, pattern(32 * MIB), step=BUFFER_SIZE // 3)
    assert pipes_lent(lb.engine) == 0
    assert await lb.close() == 1
    assert await upstream.ending() == "reset"
    assert (await client.until_end())[1] == "reset"
    assert (await lb.record()).termination is Termination.KILLED


async def test_killed_while_bulk_flows(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server))
    payload = pattern(16 * MIB)
    pairs = [await lb.pair(net, server) for _ in range(4)]
    sending = [asyncio.create_task(upstream.send(payload)) for _, upstream in pairs]
    reading = [asyncio.create_task(client.until_end()) for client, _ in pairs]
    await eventually(lambda: pipes_lent(lb.engine) > 0)
    assert await lb.close() == 4
    for result in await asyncio.gather(*sending, return_exceptions=True):
        assert isinstance(result, ConnectionResetError | BrokenPipeError)
    for data, ending in await asyncio.gather(*reading):
        assert ending == "reset"
        assert payload.startswith(data)
    assert pipes_lent(lb.engine) == 0


@pytest.mark.parametrize("who", ["client", "backend"])
async def test_killed_when_half_closed(net: Net, balancer: MakeBalancer, who: str) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    first, second = (client, upstream) if who == "client" else (upstream, client)
    first.fin()
    assert await second.ending() == "fin"
    assert await lb.close() == 1
    assert await first.ending() == "reset"
    assert (await lb.record()).termination is Termination.KILLED


async def test_killed_while_a_reset_waits_for_what_is_not_delivered_yet(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client = await net.client(lb.address, receive_buffer=SLOW)
    upstream = await server.accept()
    payload = pattern(500_000)
    await upstream.send(payload)
    await upstream.delivered()
    upstream.reset()
    other_client, _ = await lb.pair(net, server)  # by now the balancer has seen the reset
    assert await lb.close() == 2
    data, ending = await client.until_end()
    assert ending == "reset"
    assert payload.startswith(data)
    assert len(data) < len(payload)
    assert await other_client.ending() == "reset"
    assert {(await lb.record()).termination for _ in range(2)} == {Termination.KILLED}


async def test_killed_while_its_503_waits_for_the_client_to_leave(
    net: Net, balancer: MakeBalancer
) -> None:
    lb = balancer(backend(net.refusing()), strategy=StrategyName.HASH)
    client = await net.client(lb.address)
    await client.send(b"GET /x HTTP/1.1\r\n\r\n")
    answer = await client.receive(12)
    assert answer == b"HTTP/1.1 503"
    assert await lb.close() == 1
    await client.until_end()
    assert (await lb.record()).termination is Termination.KILLED_CONNECTING


async def test_killed_while_the_second_backend_is_dialled(net: Net, balancer: MakeBalancer) -> None:
    refusing, hole = backend(net.refusing(), "refusing"), backend(net.blackhole(), "hole")
    lb = balancer(refusing, hole, strategy=InOrder([refusing, hole]))
    client = await net.client(lb.address)
    await eventually(lambda: lb.pool.active(hole) == 1)
    assert await lb.close() == 1
    assert await client.ending() == "reset"
    record = await lb.record()
    assert record.termination is Termination.KILLED_CONNECTING
    assert record.attempts == 2


async def test_engine_goes_on_after_its_shutdown(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    for _ in range(3):
        lb = balancer(backend(server))  # on the same engine
        await check_that_bulk_is_right(net, lb, server)
        client, _ = await lb.pair(net, server)
        assert await lb.close() == 1
        assert await client.ending() == "reset"


async def test_largest_read_is_a_whole_buffer(net: Net, balancer: MakeBalancer) -> None:
    """As the one that asks for more must be told apart from it."""
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    await client.send(pattern(BUFFER_SIZE))
    assert await upstream.receive(BUFFER_SIZE) == pattern(BUFFER_SIZE)
    await eventually(lambda: pipes_lent(lb.engine) == 0)
    await upstream.send(b"thanks")
    assert await client.receive(6) == b"thanks"
    client.fin()
    assert await upstream.ending() == "fin"

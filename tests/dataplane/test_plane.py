"""Starting, ending and cutting off sessions; and a few hundred of them with faults."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from tcplb.dataplane.engine import Timeouts
from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.names import StrategyName
from tests.dataplane.harness import Balancer, MakeBalancer, backend, open_fds, other_tasks
from tests.peers import Net, Peer, echo, eventually

SESSIONS = 300


async def test_close_cuts_what_is_open_and_says_how_many(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server))
    pairs = [await lb.pair(net, server) for _ in range(5)]
    for peer in pairs[0]:
        peer.close()
    await lb.record()
    assert await lb.close() == 4
    for pair in pairs[1:]:
        for peer in pair:
            assert await peer.ending() == "reset"
    assert await lb.close() == 0


async def test_wait_empty_waits_for_the_last_session(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server))
    await lb.plane.wait_empty()  # nobody has come yet
    client, upstream = await lb.pair(net, server)
    lb.plane.stop_listening()
    waiting = asyncio.create_task(lb.plane.wait_empty())
    await client.send(b"still served")
    assert await upstream.receive(12) == b"still served"
    assert not waiting.done()
    client.close()
    upstream.close()
    await waiting
    assert lb.plane.open_sessions == 0


async def test_the_next_of_a_drained_plane_is_refused(net: Net, balancer: MakeBalancer) -> None:
    lb = balancer(backend(net.server()))
    lb.plane.stop_listening()
    with pytest.raises(ConnectionRefusedError):
        await net.client(lb.address)


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_left_of_many_sessions_with_faults(
    net: Net, balancer: MakeBalancer, seed: int
) -> None:
    rng = Random(seed)
    servers = [net.server().serve(_faulty(Random(seed + number))) for number in range(3)]
    backends = [backend(server, f"b{number}") for number, server in enumerate(servers)]
    dead = backend(net.refusing(), "dead")
    before = open_fds()
    lb = balancer(
        *backends,
        dead,
        strategy=rng.choice(list(StrategyName)),
        timeouts=Timeouts(idle=2.0, half_close=1.0, first_line=0.5, connect=5),
        eject=EjectPolicy(failures=2, base_time=0.01, step=0, max_time=0.01),
    )
    tasks = len(other_tasks())
    gate = asyncio.Semaphore(50)
    async with asyncio.TaskGroup() as group:
        for _ in range(SESSIONS):
            group.create_task(_client(lb, rng.random(), Random(rng.random()), gate))
    await eventually(lambda: len(lb.records) == SESSIONS)
    await lb.plane.wait_empty()
    assert lb.counters.accepted == SESSIONS
    assert (lb.pool.active_total, lb.counters.active, lb.frontend.active) == (0, 0, 0)
    assert {record.termination.code[0] for record in lb.records} >= set("-CS")
    assert not any(record.termination.code[0] == "I" for record in lb.records)
    await eventually(lambda: len(other_tasks()) <= tasks)
    assert await lb.close() == 0
    await eventually(lambda: open_fds() <= before)


def _faulty(rng: Random) -> Callable[[Peer], Awaitable[None]]:
    async def script(peer: Peer) -> None:
        match rng.randrange(6):
            case 0:
                peer.reset()
            case 1:
                await peer.receive_some()
                peer.reset()
            case 2:
                await peer.send(b"x" * rng.randrange(200_000))
                peer.fin()
                await peer.until_end()
            case 3:
                await peer.receive_some()  # and closes, perhaps with unread bytes
            case _:
                await echo(peer)

    return script


async def _client(lb: Balancer, fault: float, rng: Random, gate: asyncio.Semaphore) -> None:
    async with gate:
        peer = await Peer.connect(lb.address)
        with contextlib.suppress(OSError):
            if fault < 0.1:
                peer.reset()
                return
            await peer.send(b"GET /%d HTTP/1.1\r\n\r\n" % rng.randrange(1000))
            sending = asyncio.create_task(peer.send(rng.randbytes(rng.randrange(100_000))))
            try:
                if fault < 0.3:
                    await peer.receive_some()
                    return
                await sending
                peer.fin()
                await peer.until_end()
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                if fault > 0.9:
                    peer.reset()
                peer.close()

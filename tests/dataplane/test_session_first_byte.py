"""What a backend says first, and when: for rules of ejection, and for strategies that measure."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from tcplb.dataplane.engine import Timeouts
from tcplb.dataplane.splice import SpliceEngine
from tcplb.dataplane.splice_connection import SpliceConnection
from tcplb.dataplane.splice_relay import SpliceRelay
from tcplb.dataplane.termination import Termination
from tcplb.policy.backend import Backend
from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.names import HashKey, KeyRule
from tcplb.policy.rules import PoolRules
from tcplb.policy.transition import State
from tests.dataplane.harness import Balancer, InOrder, MakeBalancer, backend
from tests.peers import Net, Peer, Server, echo, eventually, greet, pattern

FIRST_BYTE = EjectPolicy(failures=3, first_byte=True, base_time=3600, max_time=3600)


class Measuring(InOrder):
    """Is told latencies, and keeps them."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        super().__init__(backends)
        self.told: list[tuple[str, float]] = []

    def observe(self, backend: Backend, seconds: float, now: float) -> None:
        assert seconds >= 0
        self.told.append((backend.name, seconds))


def rules(eject: EjectPolicy) -> PoolRules:
    return PoolRules(key_rule=KeyRule(HashKey.CLIENT), eject=eject)


async def established(net: Net, lb: Balancer, server: Server) -> tuple[Peer, Peer]:
    """Open a session, and wait until the balancer, too, knows that it is connected."""
    counters = lb.frontend.routes[0]
    before = counters.connections
    pair = await lb.pair(net, server)
    await eventually(lambda: counters.connections == before + 1)
    return pair


# -- ejection -------------------------------------------------------------------------------------


async def close_at_once(peer: Peer) -> None:
    peer.close()


async def reset_at_once(peer: Peer) -> None:
    peer.reset()


async def close_after_a_request(peer: Peer) -> None:
    await peer.receive(5)
    peer.close()


async def reset_after_a_request(peer: Peer) -> None:
    await peer.receive(5)
    peer.reset()


MUTE = [close_at_once, reset_at_once, close_after_a_request, reset_after_a_request]


async def visit(net: Net, lb: Balancer) -> bytes:
    """Be a client that waits for the backend's end; return what it said."""
    client = await net.client(lb.address)
    try:
        await client.send(b"hello")
        data, _ = await client.until_end()
    except OSError:
        data = b""
    client.close()
    await lb.record()
    return data


@pytest.mark.parametrize("script", MUTE)
async def test_backend_that_ends_before_its_first_byte_is_ejected(
    net: Net,
    balancer: MakeBalancer,
    script: Callable[[Peer], asyncio.Future[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    mute = backend(net.server().serve(script), "mute")
    alive = backend(net.server().serve(echo), "alive")
    lb = balancer(mute, alive, strategy=InOrder([mute, alive]), rules=rules(FIRST_BYTE))
    for _ in range(3):
        assert lb.pool.state(mute) is State.IN
        assert await visit(net, lb) == b""
    assert lb.pool.state(mute) is State.EJECTED
    client = await net.client(lb.address)
    await client.send(b"hello")
    assert await client.receive(5) == b"hello"
    [line] = [record for record in caplog.records if record.name == "tcplb.health"]
    assert "mute ejected" in line.getMessage()


@pytest.mark.parametrize("script", MUTE)
async def test_it_is_no_failure_by_default(
    net: Net, balancer: MakeBalancer, script: Callable[[Peer], asyncio.Future[None]]
) -> None:
    mute = backend(net.server().serve(script), "mute")
    alive = backend(net.server().serve(echo), "alive")
    strategy = Measuring([mute, alive])  # so it is listened for all the same
    at_once = EjectPolicy(failures=1, base_time=3600, max_time=3600)
    lb = balancer(mute, alive, strategy=strategy, rules=rules(at_once))
    for _ in range(4):
        assert await visit(net, lb) == b""
    assert lb.pool.state(mute) is State.IN


async def answer_and_close(peer: Peer) -> None:
    await peer.receive(5)
    await peer.send(b"x")
    peer.close()


async def greet_and_reset(peer: Peer) -> None:
    await peer.send(b"220 ready\r\n")
    await peer.delivered()
    await peer.receive(5)
    peer.reset()


@pytest.mark.parametrize("script", [answer_and_close, greet_and_reset])
async def test_one_that_says_anything_at_all_has_answered(
    net: Net, balancer: MakeBalancer, script: Callable[[Peer], asyncio.Future[None]]
) -> None:
    server = net.server().serve(script)
    lb = balancer(backend(server, "b1"), backend(net.refusing(), "b2"), rules=rules(FIRST_BYTE))
    for _ in range(8):
        await visit(net, lb)
    assert lb.pool.state(lb.pool.backends[0]) is State.IN


async def _end_mutely(upstream: Peer, client: Peer) -> None:
    upstream.reset()
    assert await client.ending() == "reset"


@pytest.mark.parametrize("speaks_first", ["client", "server"])
async def test_an_answer_resets_the_count(
    net: Net, balancer: MakeBalancer, speaks_first: str
) -> None:
    server = net.server()
    b1, b2 = backend(server, "b1"), backend(net.refusing(), "b2")
    lb = balancer(b1, b2, strategy=InOrder([b1, b2]), rules=rules(FIRST_BYTE))
    for mute in (True, True, False, True, True, False):
        client, upstream = await established(net, lb, server)
        if speaks_first == "client":
            await client.send(b"hello")
            assert await upstream.receive(5) == b"hello"
        if not mute:
            await upstream.send(b"x")
            assert await client.receive(1) == b"x"
        await _end_mutely(upstream, client)
        await lb.record()
        assert lb.pool.state(b1) is State.IN
    for _ in range(3):
        client, upstream = await established(net, lb, server)
        await _end_mutely(upstream, client)
        await lb.record()
    assert lb.pool.state(b1) is State.EJECTED


@pytest.mark.parametrize("leave", [Peer.reset, Peer.fin, Peer.close], ids=lambda act: act.__name__)
async def test_a_client_that_ends_first_is_no_failure_of_the_backend(
    net: Net, balancer: MakeBalancer, leave: Callable[[Peer], None]
) -> None:
    server = net.server()
    b1, b2 = backend(server, "b1"), backend(net.refusing(), "b2")
    lb = balancer(b1, b2, strategy=InOrder([b1, b2]), rules=rules(FIRST_BYTE))
    for _ in range(5):
        client, upstream = await established(net, lb, server)
        leave(client)
        await upstream.until_end()
        upstream.close()
        await lb.record()
        assert lb.pool.state(b1) is State.IN  # each time: a connect would bring it back


async def test_a_time_out_is_nobody_ending(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    b1, b2 = backend(server, "b1"), backend(net.refusing(), "b2")
    at_once = EjectPolicy(failures=1, first_byte=True, base_time=3600, max_time=3600)
    lb = balancer(
        b1, b2, strategy=InOrder([b1, b2]), rules=rules(at_once), timeouts=Timeouts(idle=0.1)
    )
    await established(net, lb, server)
    assert (await lb.record()).termination is Termination.IDLE
    assert lb.pool.state(b1) is State.IN
    client, _ = await established(net, lb, server)
    assert lb.pool.state(b1) is State.IN
    assert await lb.close() == 1
    assert lb.pool.state(b1) is State.IN
    assert await client.ending() == "reset"


# -- latency --------------------------------------------------------------------------------------


def measuring(
    balancer: MakeBalancer, server: Server, hash_key: HashKey = HashKey.CLIENT
) -> tuple[Balancer, Measuring]:
    b1 = backend(server, "b1")
    strategy = Measuring([b1])
    return balancer(b1, strategy=strategy, hash_key=hash_key), strategy


async def test_a_strategy_is_told_once_in_a_session(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb, strategy = measuring(balancer, server)
    client, upstream = await established(net, lb, server)
    for number in range(5):
        await client.send(b"question")
        assert await upstream.receive(8) == b"question"
        await upstream.send(b"answer")
        assert await client.receive(6) == b"answer"
        assert len(strategy.told) == 1, number
    upstream.fin()
    assert await client.ending() == "fin"
    client.fin()
    await lb.record()
    assert [name for name, _ in strategy.told] == ["b1"]


@pytest.mark.parametrize("end", [Peer.fin, Peer.reset], ids=lambda act: act.__name__)
async def test_an_end_is_no_first_byte(
    net: Net, balancer: MakeBalancer, end: Callable[[Peer], None]
) -> None:
    server = net.server()
    lb, strategy = measuring(balancer, server)
    client, upstream = await established(net, lb, server)
    await client.send(b"question")
    assert await upstream.receive(8) == b"question"
    end(upstream)
    await client.until_end()
    client.close()
    await lb.record()
    assert strategy.told == []


async def test_time_counts_from_the_clients_first_byte(net: Net, balancer: MakeBalancer) -> None:
    """A backend that had nothing to answer for long is not slow."""
    server = net.server()
    lb, strategy = measuring(balancer, server)
    client, upstream = await established(net, lb, server)
    await asyncio.sleep(0.2)
    asked = time.monotonic()
    await client.send(b"question")
    assert await upstream.receive(8) == b"question"
    await upstream.send(b"answer")
    assert await client.receive(6) == b"answer"
    answered = time.monotonic()
    client.reset()
    record = await lb.record()
    assert record.connected is not None
    assert record.classified is not None
    [(_, seconds)] = strategy.told
    assert seconds <= answered - asked + record.connected - record.classified


async def test_time_counts_from_the_relays_begin_for_a_server_that_speaks_first(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb, strategy = measuring(balancer, server)
    client, upstream = await established(net, lb, server)
    await asyncio.sleep(0.2)
    await upstream.send(b"220 ready\r\n")
    assert await client.receive(11) == b"220 ready\r\n"
    [(_, seconds)] = strategy.told
    assert seconds >= 0.15
    await client.send(b"QUIT")
    assert await upstream.receive(4) == b"QUIT"
    assert len(strategy.told) == 1


@pytest.mark.parametrize("size", [1, 300_000])
async def test_with_bytes_that_came_before_the_relay(
    net: Net, balancer: MakeBalancer, size: int
) -> None:
    server, data = net.server(), pattern(size)
    request = b"GET /x HTTP/1.1\r\n\r\n"
    lb, strategy = measuring(balancer, server, HashKey.REQUEST)
    client = await net.client(lb.address)
    sending = asyncio.create_task(client.send(request + data))
    upstream = await server.accept()
    assert await upstream.receive(len(request) + size) == request + data
    await sending
    await upstream.send(b"answer")
    assert await client.receive(6) == b"answer"
    assert len(strategy.told) == 1
    upstream.fin()
    client.fin()
    assert await client.ending() == "fin"
    assert (await lb.record()).bytes_up == len(request) + size


async def test_with_a_greeting_that_comes_with_the_connection(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server().serve(greet("hello"))
    lb, strategy = measuring(balancer, server)
    for number in range(20):
        assert await lb.name(net) == "hello"
        assert len(strategy.told) == number + 1


@asynccontextmanager
async def session(net: Net, lb: Balancer, server: Server) -> AsyncIterator[tuple[Peer, Peer]]:
    client, upstream = await established(net, lb, server)
    yield client, upstream
    await lb.record()


@pytest.mark.parametrize("first", ["client", "server"])
async def test_the_pumps_do_as_they_always_do(net: Net, balancer: MakeBalancer, first: str) -> None:
    """Half-close either way, resets either way, and bulk, each before and after a first byte."""
    server = net.server()
    lb, strategy = measuring(balancer, server)
    for number in range(2):
        async with session(net, lb, server) as ends:
            one, other = ends if first == "client" else ends[::-1]
            one.fin()
            assert await other.ending() == "fin"
            await other.send(b"still here")
            other.fin()
            assert await one.until_end() == (b"still here", "fin")
        async with session(net, lb, server) as ends:
            one, other = ends if first == "client" else ends[::-1]
            await one.send(b"first")
            assert await other.receive(5) == b"first"
            one.reset()
            assert await other.ending() == "reset"
        async with session(net, lb, server) as ends:
            one, other = ends if first == "client" else ends[::-1]
            one.reset()
            assert await other.ending() == "reset"
        async with session(net, lb, server) as ends:
            one, other = ends if first == "client" else ends[::-1]
            data = pattern(3_000_000, number)
            sending = asyncio.create_task(one.send(data))
            assert await other.receive(len(data)) == data
            await sending
            await other.send(data[:200_000])
            assert await one.receive(200_000) == data[:200_000]
            one.fin()
            other.fin()
            assert await other.ending() == await one.ending() == "fin"
    codes = {record.termination for record in lb.records}
    reset = Termination.CLIENT_RESET if first == "client" else Termination.BACKEND_RESET
    assert codes == {Termination.NORMAL, reset}
    assert len(strategy.told) == 4


async def test_whoever_is_told_may_fail_and_the_bytes_still_pass_or_the_session_ends(
    net: Net, balancer: MakeBalancer, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug of ours is logged, and costs one session at most: it does not hang."""

    class Broken(Measuring):
        def observe(self, backend: Backend, seconds: float, now: float) -> None:
            raise ZeroDivisionError("a bug of ours")

    server = net.server()
    b1 = backend(server, "b1")
    lb = balancer(b1, strategy=Broken([b1]), hash_key=HashKey.CLIENT)
    client, upstream = await established(net, lb, server)
    with caplog.at_level(logging.ERROR):
        await upstream.send(b"hello")
        upstream.fin()
        data, ending = await client.until_end()
    assert (data, ending) in {(b"hello", "fin"), (b"", "reset")}
    assert "internal error" in caplog.text
    client.close()
    await lb.record()
    caplog.clear()  # the traceback holds the session


def left_over() -> int:
    return sum(type(thing) in (SpliceConnection, SpliceRelay) for thing in gc.get_objects())


async def test_a_session_whose_sides_never_spoke_leaves_no_cycle(
    net: Net, balancer: MakeBalancer, engine: object
) -> None:
    """The workers hardly ever look for garbage."""
    if not isinstance(engine, SpliceEngine):
        pytest.skip("a task leaves its own")
    server = net.server()
    lb, _ = measuring(balancer, server)
    gc.collect()
    before = left_over()
    gc.disable()
    try:
        for act in (Peer.fin, Peer.reset):
            for silent in ("client", "server", "both"):
                client, upstream = await established(net, lb, server)
                if silent == "server":
                    await client.send(b"hello")
                    assert await upstream.receive(5) == b"hello"
                if silent == "client":
                    await upstream.send(b"hello")
                    assert await client.receive(5) == b"hello"
                act(client)
                await upstream.until_end()
                upstream.close()
                await lb.record()
        assert left_over() == before
    finally:
        gc.enable()

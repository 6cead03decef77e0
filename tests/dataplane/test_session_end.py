"""However a session ends, all is given back and told once."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator

import pytest

from tcplb.dataplane.record import Record
from tcplb.dataplane.termination import Termination
from tcplb.policy.backend import Backend
from tcplb.policy.names import HashKey, StrategyName
from tcplb.policy.transition import State
from tests.dataplane.harness import Balancer, InOrder, MakeBalancer, backend
from tests.peers import Net, Peer, eventually

REQUEST = b"GET /x HTTP/1.1\r\n\r\n"


async def test_record_of_a_session(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    b1, b2 = backend(server, "b1"), backend(server, "b2")
    lb = balancer(b1, b2, strategy=InOrder([b2, b1]))
    earlier = time.time()
    client = await net.client(lb.address)
    await client.send(REQUEST)
    upstream = await server.accept()
    await upstream.receive(len(REQUEST))
    await upstream.send(b"hello")
    upstream.close()
    client.fin()
    assert await client.until_end() == (b"hello", "fin")

    record = await lb.record()
    assert earlier <= record.accepted_at <= time.time()
    assert (record.client_host, record.client_port) == ("127.0.0.1", client.port)
    assert (record.listener, record.pool, record.backend) == ("front", "web", "b2")
    assert record.key == b"/x"
    assert (record.bytes_up, record.bytes_down) == (len(REQUEST), 5)
    assert record.attempts == 1
    assert record.queue_ms == 0
    assert 0 <= record.classify_ms <= record.total_ms
    assert 0 <= record.connect_ms <= record.total_ms
    assert record.termination is Termination.NORMAL
    active = record.active
    assert (active.process, active.listener, active.pool, active.backend) == (1, 1, 1, 1)


async def test_active_counts_are_those_at_the_end_of_the_session(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    b1, b2 = backend(server, "b1"), backend(server, "b2")
    lb = balancer(b1, b2)
    for _ in range(3):
        client, _ = await lb.pair(net, server)
    assert (lb.pool.active(b1), lb.pool.active(b2)) == (2, 1)
    client.reset()  # the third, which is on b1
    active = (await lb.record()).active
    assert (active.process, active.listener, active.pool, active.backend) == (3, 3, 3, 2)
    assert lb.counters.active == 2
    assert lb.counters.accepted == 3


async def test_killed_while_its_first_line_is_read(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server), strategy=StrategyName.HASH, hash_key=HashKey.REQUEST)
    client = await net.client(lb.address)
    await client.send(REQUEST[:5])
    other = await net.client(lb.address)
    await other.send(REQUEST)
    upstream = await server.accept()
    await upstream.receive(len(REQUEST))  # so the first one, too, is where it should be
    assert await lb.close() == 2
    assert await client.ending() == "reset"
    terminations = {(await lb.record()).termination for _ in range(2)}
    assert terminations == {Termination.KILLED_READING, Termination.KILLED}
    assert server.accepted == 1
    assert lb.counters.killed == 2


async def test_killed_while_a_backend_is_dialled(net: Net, balancer: MakeBalancer) -> None:
    hole = backend(net.blackhole(), "hole")
    lb = balancer(hole, backend(net.refusing(), "b2"))
    client = await net.client(lb.address)
    await eventually(lambda: lb.pool.active(hole) == 1)
    assert await lb.close() == 1
    assert await client.ending() == "reset"
    record = await lb.record()
    assert record.termination is Termination.KILLED_CONNECTING
    assert (record.backend, record.active.backend) == ("hole", 1)
    assert lb.pool.state(hole) is State.IN  # not its failure


async def test_killed_while_data_moves(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    await client.send(b"data")
    assert await upstream.receive(4) == b"data"
    assert await lb.close() == 1
    assert await client.ending() == "reset"
    assert await upstream.ending() == "reset"
    record = await lb.record()
    assert record.termination is Termination.KILLED
    assert record.bytes_up == 4


async def test_killed_before_its_first_step(net: Net, balancer: MakeBalancer) -> None:
    """The shutdown accepts it from the queue, and cuts it off in the same breath."""
    lb = balancer(backend(net.server()))
    client = Peer(socket.create_connection(lb.address))  # no await: the balancer does not run
    assert await lb.close() == 1
    await client.until_end()
    client.close()
    record = await lb.record()
    assert record.termination.code.startswith("K")  # how far it came is the engine's affair
    assert lb.counters.accepted == lb.counters.killed == 1


class Broken(InOrder):
    """Raises for the first client, as a bug would."""

    def order(self, key: bytes = b"", now: float = 0.0) -> Iterator[Backend]:
        backends = super().order(key, now)
        if len(self.keys) == 1:
            raise ZeroDivisionError("a bug of ours")
        return backends


class BrokenClock:
    """Raises when it is asked for the second time: when a client has begun to speak."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        if self.asked == 2:
            raise ZeroDivisionError("a bug of ours")
        return float(self.asked)


async def test_unexpected_exception_ends_only_its_session(
    net: Net, balancer: MakeBalancer, caplog: pytest.LogCaptureFixture
) -> None:
    server = net.server()
    lb = balancer(backend(server), strategy=Broken([backend(server)]), hash_key=HashKey.CLIENT)
    client = await net.client(lb.address)
    assert await client.ending() == "reset"
    assert (await lb.record()).termination is Termination.BUG_CONNECTING
    [logged] = [entry for entry in caplog.records if entry.levelno >= logging.ERROR]
    assert logged.getMessage() == "internal error in a session; the others go on"
    assert logged.exc_info is not None
    assert logged.exc_info[0] is ZeroDivisionError
    caplog.clear()  # the traceback holds the session

    client, upstream = await lb.pair(net, server)
    upstream.close()
    assert await client.ending() == "fin"


async def test_unexpected_exception_while_the_first_line_is_read(
    net: Net, balancer: MakeBalancer, caplog: pytest.LogCaptureFixture
) -> None:
    lb = balancer(backend(net.server()), strategy=StrategyName.HASH, clock=BrokenClock())
    client = await net.client(lb.address)
    await client.send(b"G")
    assert await client.ending() == "reset"
    assert (await lb.record()).termination is Termination.BUG_READING
    caplog.clear()


async def test_log_that_cannot_be_written_costs_no_lease(
    net: Net, balancer: MakeBalancer, caplog: pytest.LogCaptureFixture
) -> None:
    def full_disk(record: Record) -> None:
        raise OSError(28, "No space left on device")

    server = net.server()
    lb = balancer(backend(server), sink=full_disk)
    client, upstream = await lb.pair(net, server)
    client.reset()
    assert await upstream.ending() == "reset"
    await lb.plane.wait_empty()
    _nothing_is_active(lb)
    assert "internal error in a session" in caplog.text
    caplog.clear()


def _nothing_is_active(lb: Balancer) -> None:
    assert (lb.pool.active_total, lb.counters.active, lb.frontend.active) == (0, 0, 0)

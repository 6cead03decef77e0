"""A bulk flow moves a bounded number of bytes a turn, and then it is the others' turn."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tcplb.dataplane.engine import FirstByte
from tcplb.dataplane.quiet import QuietTimers
from tcplb.dataplane.splice import SpliceEngine
from tcplb.dataplane.splice_pump import BUFFER_SIZE, TURN
from tcplb.dataplane.termination import Termination
from tests.dataplane.harness import MakeBalancer, backend
from tests.peers import PATIENCE, Net, Peer, eventually

MOST_A_TURN = TURN + BUFFER_SIZE
"""A turn ends with the piece that makes it full."""

TURNS = 6
"""From a request to the balancer, from there to the backend, and back, and one to spare each."""


class Counting(SpliceEngine):
    """Keeps the backends' connections of its sessions, whose bytes can be counted."""

    def __init__(self, most_pipes: int) -> None:
        super().__init__(most_pipes)
        self.backends: list[Any] = []

    def relay(
        self,
        client: Any,
        backend: Any,
        timers: QuietTimers,
        first_byte: FirstByte | None = None,
    ) -> Coroutine[Any, Any, Termination]:
        self.backends.append(backend)
        return super().relay(client, backend, timers, first_byte)


@pytest.fixture(params=[64, 0], ids=["spliced", "copied"])
async def engine(request: pytest.FixtureRequest) -> Counting:
    return Counting(request.param)


@contextmanager
def endless(sender: Peer, reader: Peer) -> Iterator[None]:
    """Let a thread send as fast as the kernel takes it, and another one read."""
    threads = [
        threading.Thread(target=_work, args=(_send, sender.sock.dup())),
        threading.Thread(target=_work, args=(_read, reader.sock.dup())),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        sender.sock.shutdown(socket.SHUT_RDWR)
        reader.sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(PATIENCE)


def _work(work: Any, sock: socket.socket) -> None:
    with sock, suppress(OSError):  # the test is over
        sock.settimeout(PATIENCE)
        work(sock)


def _send(sock: socket.socket) -> None:
    data = bytes(4 * 1024 * 1024)
    while True:
        sock.sendall(data)


def _read(sock: socket.socket) -> None:
    buffer = bytearray(4 * 1024 * 1024)
    while sock.recv_into(buffer):
        pass


async def test_small_request_is_answered_within_a_few_turns_of_a_bulk_flow(
    net: Net, balancer: MakeBalancer, engine: Counting
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    reader, sender = await lb.pair(net, server)
    client, upstream = await lb.pair(net, server)
    [bulk, _] = engine.backends
    with endless(sender, reader):
        await eventually(lambda: bulk.moved > 4 * MOST_A_TURN)
        for _ in range(50):
            before = bulk.moved
            client.put(b"request")
            assert await upstream.receive(7) == b"request"
            upstream.put(b"answer")
            assert await client.receive(6) == b"answer"
            assert bulk.moved - before <= TURNS * MOST_A_TURN
        await eventually(lambda: bulk.moved > before + 4 * MOST_A_TURN)  # it has not stopped


def _has_arrived(peer: Peer) -> bool:
    with suppress(BlockingIOError):
        return bool(peer.sock.recv(1, socket.MSG_PEEK))
    return False


@pytest.mark.parametrize("urgent", [False, True])
async def test_bulk_that_is_all_there_waits_for_a_small_request(
    net: Net, balancer: MakeBalancer, engine: Counting, *, urgent: bool
) -> None:
    """Megabytes are there before a request is, when the balancer looks: two turns at most."""
    server = net.server()
    lb = balancer(backend(server))
    reader, sender = await lb.pair(net, server)
    client, upstream = await lb.pair(net, server)
    [bulk, _] = engine.backends
    if urgent:  # from then on it is read in another way
        sender.sock.send(b"!", socket.MSG_OOB)
        sender.put(b".")
        assert b"." in await reader.receive_some()
    before = bulk.moved
    assert sender.send_what_fits(memoryview(bytes(16 * 1024 * 1024))) > 0
    client.put(b"request")  # no await in between: both are in one batch
    while not _has_arrived(upstream):  # noqa: ASYNC110 - an event would come turns later
        await asyncio.sleep(0)  # one turn of the loop
    assert bulk.moved - before <= 2 * MOST_A_TURN
    assert await upstream.receive(7) == b"request"


async def test_bulk_flows_take_turns(net: Net, balancer: MakeBalancer, engine: Counting) -> None:
    """Of several that could all go on for ever, none does so for long while the others wait."""
    server = net.server()
    lb = balancer(backend(server))
    pairs = [await lb.pair(net, server) for _ in range(2)]
    with endless(*pairs[0][::-1]), endless(*pairs[1][::-1]):
        for _ in range(5):
            await _all_go_on(engine.backends)


async def _all_go_on(flows: Sequence[Any]) -> None:
    start = [flow.moved for flow in flows]
    await eventually(
        lambda: all(
            flow.moved - before > 8 * MOST_A_TURN for flow, before in zip(flows, start, strict=True)
        )
    )

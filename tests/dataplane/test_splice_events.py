"""Events on the splice engine: none is lost between two waits, and none reaches another session."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from tcplb.dataplane.engine import Timeouts
from tcplb.dataplane.splice import SpliceEngine
from tcplb.dataplane.splice_pump import BUFFER_SIZE
from tcplb.dataplane.termination import Termination
from tcplb.policy.backend import Backend
from tcplb.policy.names import HashKey, StrategyName
from tests.dataplane.harness import Balancer, InOrder, MakeBalancer, backend
from tests.peers import PATIENCE, Address, Net, Peer, Server, eventually, pattern

REQUEST = b"GET /x HTTP/1.1\r\n\r\n"


@pytest.fixture
async def engine() -> SpliceEngine:
    return SpliceEngine()


# -- stale events -------------------------------------------------------------------------------


def descriptor_to(peer: Peer) -> int:
    """Return the descriptor, in this process, of the other end of a connection."""
    ends = (peer.sock.getpeername(), peer.sock.getsockname())
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the descriptor of this very listing
            if path.stat().st_mode & stat.S_IFSOCK == stat.S_IFSOCK and ends == _ends(path):
                return int(path.name)
    raise AssertionError("it has no other end here")


def _ends(path: Path) -> tuple[Address, Address]:
    with socket.socket(fileno=os.dup(int(path.name))) as sock:
        return sock.getsockname(), sock.getpeername()


def move_up(peer: Peer) -> None:
    """Give the peer a high descriptor, so that none gets free below when it is closed."""
    high = fcntl.fcntl(peer.sock, fcntl.F_DUPFD_CLOEXEC, 1000)
    peer.sock.close()
    peer.sock = socket.socket(fileno=high)


@contextmanager
def nothing_free_below(descriptor: int) -> Iterator[None]:
    """Let `descriptor` be the lowest free number as soon as it is closed."""
    with ExitStack() as holes:
        while (hole := os.dup(0)) < descriptor:
            holes.callback(os.close, hole)
        os.close(hole)
        yield


async def requested(net: Net, lb: Balancer, server: Server) -> tuple[Peer, Peer]:
    """Open a session whose request has arrived; return both ends."""
    client = await net.client(lb.address)
    await client.send(REQUEST)
    upstream = await server.accept()
    assert await upstream.receive(len(REQUEST)) == REQUEST
    return client, upstream


@pytest.mark.parametrize(
    "last_event",
    [Peer.fin, Peer.reset, lambda peer: peer.put(b"stale")],
    ids=["fin", "reset", "bytes"],
)
async def test_event_of_a_closed_connection_does_not_reach_the_next_with_its_number(
    net: Net, balancer: MakeBalancer, last_event: Callable[[Peer], None]
) -> None:
    """One batch of events: a session ends, another one dials, and there is more from the first.

    The dial gets the number that the first session's client had.
    """
    server = net.server()
    lb = balancer(backend(server), strategy=StrategyName.HASH, hash_key=HashKey.REQUEST)
    old_client, old_upstream = await requested(net, lb, server)
    move_up(old_client)
    move_up(old_upstream)
    number = descriptor_to(old_client)
    assert number < descriptor_to(old_upstream)  # so it is the first to be given out again
    client = await net.client(lb.address)
    client.put(REQUEST[:5])
    await requested(net, lb, server)  # so all events before it have been told

    with nothing_free_below(number):
        old_upstream.reset()  # no await from here on: all three are in one batch
        client.put(REQUEST[5:])
        last_event(old_client)
        await eventually(lambda: lb.pool.active_total == 2 and len(lb.records) == 1)
    upstream = await server.accept()
    assert descriptor_to(upstream) == number

    assert await upstream.receive(len(REQUEST)) == REQUEST
    for answer in (b"no end ", b"here, ", b"nor here"):
        await upstream.send(answer)
        assert await client.receive(len(answer)) == answer
    upstream.fin()
    assert await client.ending() == "fin"
    await client.send(b"and on it goes")
    assert await upstream.receive(14) == b"and on it goes"
    client.fin()
    assert await upstream.ending() == "fin"
    assert (await lb.record()).termination is Termination.BACKEND_RESET
    assert (await lb.record()).termination is Termination.NORMAL


async def test_events_of_both_ends_of_many_sessions_in_one_batch(
    net: Net, balancer: MakeBalancer
) -> None:
    """Each session is ended by its first event, and the batch has a second one of it."""
    server = net.server()
    lb = balancer(backend(server))
    for _ in range(5):
        pairs = [await lb.pair(net, server) for _ in range(20)]
        bystander, upstream = await lb.pair(net, server)
        for client, other in pairs:
            client.reset()
            other.reset()
        await bystander.send(b"still there?")
        assert await upstream.receive(12) == b"still there?"
        await upstream.send(b"yes")
        upstream.fin()
        assert await bystander.until_end() == (b"yes", "fin")
        bystander.fin()
        codes = [(await lb.record()).termination.code for _ in range(21)]
        assert codes.count("--") == 1
        assert codes.count("CD") + codes.count("SD") == 20


# -- before the relay ---------------------------------------------------------------------------


@pytest.mark.parametrize("split", range(1, len(REQUEST) + 4))
async def test_first_line_in_two_pieces_is_relayed_whole(
    net: Net, balancer: MakeBalancer, split: int
) -> None:
    server = net.server()
    lb = balancer(backend(server), strategy=StrategyName.HASH, hash_key=HashKey.REQUEST)
    data = REQUEST + b"body"
    client = await net.client(lb.address)
    client.put(data[:split])
    await eventually(lambda: lb.counters.active == 1)
    for _ in range(2):  # the balancer has looked at the first piece
        await asyncio.sleep(0)
    client.put(data[split:])
    client.fin()
    upstream = await server.accept()
    assert await upstream.until_end() == (data, "fin")
    upstream.put(b"answer")
    upstream.fin()
    assert await client.until_end() == (b"answer", "fin")
    record = await lb.record()
    assert (record.key, record.bytes_up, record.bytes_down) == (b"/x", len(data), 6)


@pytest.mark.parametrize("size", [0, 5, BUFFER_SIZE, 3 * BUFFER_SIZE + 1])
@pytest.mark.parametrize("fin", [True, False])
async def test_what_comes_before_the_backend_is_connected(
    net: Net, balancer: MakeBalancer, *, size: int, fin: bool
) -> None:
    hole, server = net.blackhole(), net.server()
    backends = [backend(hole, "hole"), backend(server, "alive")]
    lb = balancer(*backends, strategy=InOrder(backends), timeouts=Timeouts(connect=0.1))
    client = await net.client(lb.address)
    await eventually(lambda: lb.pool.active(backends[0]) == 1)
    sending = asyncio.create_task(client.send(pattern(size)))
    upstream = await server.accept()
    await sending
    if fin:
        client.fin()
        assert await upstream.until_end() == (pattern(size), "fin")
    else:
        assert await upstream.receive(size) == pattern(size)
    await upstream.send(b"answer")
    assert await client.receive(6) == b"answer"
    assert lb.records == []


@pytest.mark.parametrize("fin", [True, False])
async def test_fin_comes_before_the_backend_is_connected(
    net: Net, balancer: MakeBalancer, *, fin: bool
) -> None:
    """All the client has to say is there, and told of, while the first backend is dialled."""
    hole, server = net.blackhole(), net.server()
    backends = [backend(hole, "hole"), backend(server, "alive")]
    lb = balancer(*backends, strategy=InOrder(backends), timeouts=Timeouts(connect=0.1))
    client = await net.client(lb.address)
    client.put(REQUEST)
    if fin:
        client.fin()
    upstream = await server.accept()
    assert await upstream.receive(len(REQUEST)) == REQUEST
    if not fin:
        client.fin()
    assert await upstream.ending() == "fin"
    upstream.put(b"answer")
    upstream.fin()
    assert await client.until_end() == (b"answer", "fin")
    assert (await lb.record()).termination is Termination.NORMAL


async def test_time_outs_of_what_a_session_no_longer_waits_for_are_over(
    net: Net, balancer: MakeBalancer
) -> None:
    """Silent clients are the clock: they wait for the first line until the same time-out."""
    server = net.server()
    lb = balancer(
        backend(server),
        strategy=StrategyName.HASH,
        hash_key=HashKey.REQUEST,
        timeouts=Timeouts(first_line=0.2, connect=0.2, connect_deadline=0.2),
    )
    client = await net.client(lb.address)
    client.put(REQUEST[:5])
    await requested(net, lb, server)  # by now the first one waits for the rest
    client.put(REQUEST[5:])
    upstream = await server.accept()
    assert await upstream.receive(len(REQUEST)) == REQUEST
    for number in range(2):
        await lb.pair(net, server)  # of a silent client
        await client.send(b"question %d" % number)
        assert await upstream.receive(10) == b"question %d" % number
        await upstream.send(b"answer %d" % number)
        assert await client.receive(8) == b"answer %d" % number
    assert lb.records == []


class WhileConnecting(InOrder):
    """Lets a backend act between the balancer's connect and its next look at the socket."""

    def __init__(self, backends: list[Backend], act: Callable[[], object]) -> None:
        super().__init__(backends)
        self._act = act

    def order(self, key: bytes = b"", now: float = 0.0) -> Iterator[Backend]:
        # The kernel connects at once; the next callback comes before the next events.
        asyncio.get_running_loop().call_soon(self._act)
        return super().order(key, now)


@pytest.mark.parametrize("end", [Peer.fin, Peer.reset, Peer.close], ids=["fin", "reset", "close"])
@pytest.mark.parametrize("size", [0, 5, BUFFER_SIZE - 1, BUFFER_SIZE, BUFFER_SIZE + 1])
async def test_backend_sends_and_ends_as_soon_as_it_is_connected(
    net: Net, balancer: MakeBalancer, size: int, end: Callable[[Peer], None]
) -> None:
    """All of it is told to the balancer together with the connect."""
    greeting = pattern(size)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        upstreams: list[Peer] = []

        def act() -> None:
            upstream = Peer(listening.accept()[0])
            upstreams.append(upstream)
            upstream.put(greeting)
            if end is Peer.reset:
                while upstream.unacknowledged():  # a reset would take it back
                    pass
            end(upstream)

        b1 = Backend("b1", *listening.getsockname())
        lb = balancer(b1, strategy=WhileConnecting([b1], act), hash_key=HashKey.CLIENT)
        client = await net.client(lb.address)
        data, ending = await client.until_end()
        client.close()
        record = await lb.record()
        if end is Peer.reset:
            # By then it had not become a session: the dial failed like any that is reset.
            assert (data, ending) == (b"", "reset")
            assert record.termination is Termination.CONNECT_FAILED
        else:
            assert (data, ending) == (greeting, "fin")
            assert record.bytes_down == size
        for upstream in upstreams:
            upstream.close()


# -- between two waits --------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["client", "backend"])
@pytest.mark.parametrize(
    "size", [1, 1000, BUFFER_SIZE - 1, BUFFER_SIZE, BUFFER_SIZE + 1, 3 * BUFFER_SIZE]
)
async def test_bytes_and_fin_in_one_event(
    net: Net, balancer: MakeBalancer, who: str, size: int
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    first, second = (client, upstream) if who == "client" else (upstream, client)
    first.put(pattern(size))
    first.fin()
    assert await second.until_end() == (pattern(size), "fin")
    await second.send(b"on it goes")
    assert await first.receive(10) == b"on it goes"
    second.fin()
    assert await first.ending() == "fin"
    assert (await lb.record()).termination is Termination.NORMAL


@pytest.mark.parametrize("size", [100, 3000, 40_000, 200_000])
async def test_bytes_that_arrive_at_any_moment(net: Net, balancer: MakeBalancer, size: int) -> None:
    """Two threads send small and large pieces each way, while the balancer reads and waits."""
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    up, down = _pieces(Random(size), size), _pieces(Random(-size), size)
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(_send_pieces, client, up))
        group.create_task(asyncio.to_thread(_send_pieces, upstream, down))
        at_backend = group.create_task(upstream.until_end())
        at_client = group.create_task(client.until_end())
    assert at_backend.result() == (b"".join(up), "fin")
    assert at_client.result() == (b"".join(down), "fin")
    assert (await lb.record()).termination is Termination.NORMAL


def _pieces(rng: Random, most: int) -> list[bytes]:
    return [rng.randbytes(rng.randint(1, most)) for _ in range(min(3000, 20_000_000 // most))]


def _send_pieces(peer: Peer, pieces: list[bytes]) -> None:
    with peer.sock.dup() as sock:  # of its own, for it blocks
        sock.settimeout(PATIENCE)
        for piece in pieces:
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)


async def test_question_and_answer_from_threads(net: Net, balancer: MakeBalancer) -> None:
    """Each piece is answered at once, so the next one comes while the balancer ends its turn."""
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(_answer, upstream))
        group.create_task(asyncio.to_thread(_ask, client, 3000))
    assert (await lb.record()).bytes_up == 3000 * 7


def _ask(client: Peer, times: int) -> None:
    with client.sock.dup() as sock:
        sock.settimeout(PATIENCE)
        for number in range(times):
            sock.sendall(b"%07d" % number)
            assert sock.recv(7, socket.MSG_WAITALL) == b"%07d" % number
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""


def _answer(upstream: Peer) -> None:
    with upstream.sock.dup() as sock:
        sock.settimeout(PATIENCE)
        while data := sock.recv(7, socket.MSG_WAITALL):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

"""10,000 random sessions with random faults: every byte right, and nothing left of any."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import CoroutineType, GeneratorType

import pytest

import tcplb.dataplane
from tcplb.dataplane.engine import Timeouts
from tcplb.dataplane.pipes import Pipe
from tcplb.dataplane.poller import Poller
from tcplb.dataplane.session import Session
from tcplb.dataplane.splice import SpliceEngine
from tcplb.dataplane.splice_connection import SpliceConnection
from tcplb.dataplane.splice_relay import SpliceRelay
from tcplb.dataplane.termination import Termination
from tcplb.policy.backend import Backend
from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.names import HashKey, StrategyName
from tests.dataplane.harness import (
    Balancer,
    MakeBalancer,
    backend,
    open_epolls,
    open_fds,
    other_tasks,
    pipes_lent,
)
from tests.peers import PATIENCE, Address, Net, Peer, echo, eventually, pattern

ROUNDS = 10
SESSIONS = 1000
AT_ONCE = 100
CUT_OFF = 30
LINE = b"GET /%08d HTTP/1.1\r\n\r\n"
"""What each end sends first: its number."""

ACTS = ["fin"] * 10 + ["late", "reset", "close", "stall"]
"""What ends do. The first two are well-behaved: they send all, a FIN, and read to the end."""

TIMED_OUT = (Termination.IDLE, Termination.CLIENT_STAYED_OPEN, Termination.BACKEND_STAYED_OPEN)

DATA = pattern(4 * 1024 * 1024)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@pytest.fixture
async def engine() -> SpliceEngine:
    return SpliceEngine(most_pipes=4)


class End:
    """One end of a session, and what it happens to do."""

    def __init__(self, number: int, rng: Random, act: str) -> None:
        self._rng = rng
        self.act = act or rng.choice(ACTS)
        size = rng.choice([0, 20, 2000, 2000, 2000, 50_000, 200_000])
        if rng.random() < 0.02:
            size = len(DATA) // 2
        start = number % 1000
        self.payload = LINE % number + DATA[start : start + rng.randint(0, size)]
        self.port = 0
        self.has_sent_all = False
        self._send_failed = False
        self.received = bytearray()
        self.ending = ""
        """How the bytes ended: "fin", "reset", or "" if this end did not read to the end."""

    @property
    def well_behaved(self) -> bool:
        return self.act in ("fin", "late")

    async def play(self, sock: socket.socket, over: asyncio.Event) -> None:
        """Do it all. An end that stalls does so until it is `over`."""
        sending = asyncio.create_task(self._send(sock))
        try:
            await self._read(sock)
            if self.act == "stall":
                await over.wait()
            elif self.well_behaved:
                await sending
        except OSError:
            self.ending = "reset"
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            if self.act == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            sock.close()

    async def _send(self, sock: socket.socket) -> None:
        try:
            await self._send_all(sock)
        except OSError:
            self._send_failed = True  # the reader tells

    async def _send_all(self, sock: socket.socket) -> None:
        loop, rng, rest = asyncio.get_running_loop(), self._rng, memoryview(self.payload)
        while rest:
            size = rng.choice([len(rest), rng.randint(1, len(rest))])
            await loop.sock_sendall(sock, rest[:size])
            rest = rest[size:]
            if rng.random() < 0.5:
                await asyncio.sleep(0)
        self.has_sent_all = True
        if self.well_behaved or (self.act == "stall" and rng.random() < 0.5):
            sock.shutdown(socket.SHUT_WR)

    async def _read(self, sock: socket.socket) -> None:
        loop, rng = asyncio.get_running_loop(), self._rng
        most = len(DATA) if self.well_behaved else rng.choice([0, 1, 10_000])
        if self.act == "late":  # when the pipe is full, perhaps
            await asyncio.sleep(rng.random() / 5)
        while len(self.received) < most and not self.ending:
            data = await loop.sock_recv(sock, 256 * 1024)
            self.received += data
            if not data:
                # A reset is told only once: when the sender has met it, this looks like a FIN.
                await asyncio.sleep(0)
                self.ending = "reset" if self._send_failed else "fin"


class Round:
    """The sessions of one balancer."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.ends: list[End] = []
        self.timed_out: set[int] = set()
        """The ports of the clients whose sessions did: on a busy machine, of any."""
        self.playing = 0
        self.over = asyncio.Event()
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def play(self, sock: socket.socket, act: str = "") -> None:
        """Do what one end happens to do."""
        end = End(len(self.ends), Random(self.rng.random()), act)
        end.port = sock.getsockname()[1]
        self.ends.append(end)
        self.playing += 1
        try:
            await end.play(sock, self.over)
        finally:
            self.playing -= 1

    async def client(self, address: Address, act: str) -> None:
        """Connect, and play; those that stall hold up no others."""
        async with self._gate:
            sock = socket.socket()
            sock.setblocking(False)
            if act in ("late", "stall"):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            try:
                await asyncio.get_running_loop().sock_connect(sock, address)
            except ConnectionResetError:  # it was accepted, and reset before we were told so
                sock.close()
                return
            if act != "stall":
                await self.play(sock, act)
        if act == "stall":
            await self.play(sock, act)

    def check(self) -> int:
        """Check what all have received; return how many sessions went well from end to end."""
        return sum(self._check(end) for end in self.ends)

    def _check(self, end: End) -> bool:
        received = bytes(end.received)
        if len(received) < len(LINE % 0):
            assert not received or (LINE % 0).startswith(received[:5])
            return False
        other = self.ends[int(received[5:13])]
        assert other is not end
        assert other.payload.startswith(received)
        if end.ending == "fin" and other.has_sent_all:
            assert received == other.payload
        in_time = self.timed_out.isdisjoint((end.port, other.port))
        good = end.well_behaved and other.well_behaved and in_time
        if good:
            assert (end.ending, received) == ("fin", other.payload)
        return good


async def run_round(net: Net, balancer: MakeBalancer, seed: int) -> Counter[Termination]:
    """Run a thousand sessions, cut off some that are still open; return how they ended."""
    this = Round(seed)

    async def script(peer: Peer) -> None:
        await this.play(peer.sock)

    backends = [backend(net.server().serve(script), f"b{number}") for number in range(3)]
    lb = balancer(
        *backends,
        backend(net.refusing(), "dead"),
        strategy=list(StrategyName)[seed % len(StrategyName)],
        hash_key=list(HashKey)[seed % len(HashKey)],
        timeouts=Timeouts(idle=1.0, half_close=1.0, first_line=1.0, connect=5),
        eject=EjectPolicy(failures=2, base_time=0.01, step=0, max_time=0.01),
    )
    acts = [this.rng.choice(ACTS) for _ in range(SESSIONS - CUT_OFF)]
    clients = [asyncio.create_task(this.client(lb.address, act)) for act in acts]
    await eventually(lambda: len(lb.records) == SESSIONS - CUT_OFF)
    clients += [asyncio.create_task(this.client(lb.address, "stall")) for _ in range(CUT_OFF)]
    await eventually(lambda: lb.counters.accepted == SESSIONS)
    await lb.close()
    this.over.set()
    await asyncio.gather(*clients)
    await eventually(lambda: this.playing == 0)
    this.timed_out = {each.client_port for each in lb.records if each.termination in TIMED_OUT}
    assert this.check() > SESSIONS / 2  # most are as they should be: two ends are checked of each
    assert len(lb.records) == SESSIONS
    return Counter(record.termination for record in lb.records)


# -- what is left -------------------------------------------------------------------------------

OURS = (Session, SpliceConnection, SpliceRelay, Pipe)
_FOLDER = str(Path(tcplb.dataplane.__file__).parent)


def left_over() -> Counter[str]:
    """Count the objects of the data plane that only sessions have, coroutines among them."""
    found: Counter[str] = Counter()
    for thing in gc.get_objects():
        if type(thing) in OURS:
            found[type(thing).__name__] += 1
        elif isinstance(thing, CoroutineType):
            if thing.cr_code.co_filename.startswith(_FOLDER):
                found[thing.__qualname__] += 1
        elif isinstance(thing, GeneratorType) and thing.gi_code.co_filename.startswith(_FOLDER):
            found[thing.__qualname__] += 1
    return found


async def test_nothing_is_left_of_10_000_random_sessions_with_faults(
    net: Net, balancer: MakeBalancer, engine: SpliceEngine, caplog: pytest.LogCaptureFixture
) -> None:
    descriptors, epolls, tasks = open_fds(), open_epolls(), len(other_tasks())
    others = left_over()  # a test that has failed keeps some in its traceback
    ended: Counter[Termination] = Counter()
    async with asyncio.timeout(4 * PATIENCE):
        for seed in range(ROUNDS):
            ended += await run_round(net, balancer, seed)
            await net.close()
    assert ended.total() == ROUNDS * SESSIONS
    assert set(ended) >= {
        Termination.NORMAL,
        Termination.CLIENT_RESET,
        Termination.BACKEND_RESET,
        Termination.CLIENT_STAYED_OPEN,
        Termination.BACKEND_STAYED_OPEN,
        Termination.IDLE,
        Termination.KILLED,
    }
    assert not any(termination.code.startswith("I") for termination in ended)
    assert "internal error" not in caplog.text
    await eventually(lambda: len(other_tasks()) <= tasks)
    assert open_fds() <= descriptors
    assert open_epolls() == epolls  # it is given up when no handler of a descriptor is left
    assert pipes_lent(engine) == 0
    gc.collect()
    assert left_over() <= others
    [poller] = [part for part in vars(engine).values() if isinstance(part, Poller)]
    assert not poller.deadlines


Visit = Callable[[Balancer], Awaitable[None]]


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def request_and_answer(lb: Balancer) -> None:
    """A connection as most are."""
    peer = await Peer.connect(lb.address)
    await peer.send(LINE % 1)
    assert await peer.receive(len(LINE % 1)) == LINE % 1
    peer.fin()
    assert await peer.ending() == "fin"
    peer.close()


async def bulk(lb: Balancer) -> None:
    peer = await Peer.connect(lb.address)
    sending = asyncio.create_task(peer.send(DATA))
    assert await peer.receive(len(DATA)) == DATA
    await sending
    peer.fin()
    assert await peer.ending() == "fin"
    peer.close()


async def reset(lb: Balancer) -> None:
    peer = await Peer.connect(lb.address)
    await peer.send(LINE % 1)
    assert await peer.receive(len(LINE % 1)) == LINE % 1
    peer.reset()


@pytest.mark.parametrize("kind", [request_and_answer, bulk, reset])
@pytest.mark.parametrize("hash_key", [HashKey.CLIENT, HashKey.REQUEST])
async def test_session_leaves_no_work_to_the_garbage_collector(
    net: Net, balancer: MakeBalancer, kind: Visit, hash_key: HashKey
) -> None:
    lb = balancer(backend(net.server().serve(echo)), strategy=StrategyName.HASH, hash_key=hash_key)
    await check_no_garbage(lb, kind)


async def check_no_garbage(lb: Balancer, kind: Visit) -> None:
    others = left_over()
    with no_garbage_collection():
        for _ in range(5):
            await asyncio.gather(*(kind(lb) for _ in range(4)))
        await lb.plane.wait_empty()
        await eventually(lambda: len(lb.records) == 20)
        await lb.close()
        assert left_over() <= others


async def turned_away(lb: Balancer) -> None:
    peer = await Peer.connect(lb.address)
    assert await peer.ending() == "reset"
    peer.close()


async def test_refused_session_leaves_no_work_to_the_garbage_collector(
    net: Net, balancer: MakeBalancer
) -> None:
    lb = balancer(backend(net.refusing(), "b1"), backend(net.refusing(), "b2"))
    await check_no_garbage(lb, turned_away)


async def test_timed_out_session_leaves_no_work_to_the_garbage_collector(
    net: Net, balancer: MakeBalancer
) -> None:
    timeouts = Timeouts(connect=0.1, connect_deadline=0.1)
    lb = balancer(backend(net.blackhole(), "b1"), timeouts=timeouts)
    await check_no_garbage(lb, turned_away)


async def test_name_that_is_refused_leaves_no_work_to_the_garbage_collector(
    net: Net, balancer: MakeBalancer
) -> None:
    lb = balancer(Backend("b1", "localhost", net.refusing().port))
    await check_no_garbage(lb, turned_away)

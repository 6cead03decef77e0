"""A balancer in this process, built the same way for every test and every engine."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Protocol, TypeVar

from tcplb.dataplane.admission import Admission
from tcplb.dataplane.counters import Counters
from tcplb.dataplane.engine import Engine, Timeouts
from tcplb.dataplane.frontend import Frontend
from tcplb.dataplane.plane import DataPlane
from tcplb.dataplane.record import Record, RecordSink
from tcplb.dataplane.splice import SpliceEngine
from tcplb.dataplane.streams import StreamsEngine
from tcplb.policy.backend import Backend
from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.load import Load
from tcplb.policy.names import HashKey, KeyRule, StrategyName
from tcplb.policy.occupancy import Occupancy
from tcplb.policy.pool import Pool
from tcplb.policy.rules import PoolRules
from tcplb.policy.strategy import MakeStrategy, Strategy, StrategyMaker
from tests.peers import PATIENCE, Address, Net, Peer, Server, eventually

ENGINES: Mapping[str, Callable[[], Engine]] = {"streams": StreamsEngine, "splice": SpliceEngine}

T = TypeVar("T")

PATIENT = Timeouts(connect=20, connect_deadline=40, first_line=20, idle=120, half_close=60)
"""Time-outs that no test ever sees."""


class Listening(Protocol):
    """A server, a refusing port or a black hole."""

    host: str
    port: int


def backend(listening: Listening, name: str = "b1", weight: int = 1, limit: int = 0) -> Backend:
    return Backend(name, listening.host, listening.port, weight, limit)


def open_fds() -> Counter[str]:
    """Count this process's sockets and pipes. (The loop has files of its own that come and go.)"""
    kinds: Counter[str] = Counter()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the descriptor of this very listing
            kinds[str(path.readlink()).partition(":")[0]] += 1
    return Counter({kind: kinds[kind] for kind in ("socket", "pipe")})


def open_epolls() -> int:
    """Count this process's epolls, that of the loop included."""
    count = 0
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the descriptor of this very listing
            count += str(path.readlink()) == "anon_inode:[eventpoll]"
    return count


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    """Let every system call fail with EMFILE that wants a new descriptor."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def other_tasks() -> set[asyncio.Task[object]]:
    """Return every task but the one that asks."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def within(engine: Engine, work: Coroutine[Any, Any, T]) -> T:
    """Do some work as a session of `engine` does it; return its result."""
    result: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    async def life() -> None:
        try:
            result.set_result(await work)
        except asyncio.CancelledError:
            result.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whoever waits for the result gets it
            result.set_exception(error)

    started = engine.start(life())
    try:
        return await asyncio.shield(result)
    except asyncio.CancelledError:
        engine.cancel(started)
        raise


def pipes_lent(engine: Engine) -> int:
    """Return how many pipes the sessions of a splice engine have."""
    assert isinstance(engine, SpliceEngine)
    return engine.pipes.lent


class ManualClock:
    """Shows what a test has set it to. Engines have the loop's own time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class InOrder:
    """A keyed strategy that always prefers the backends in the order given."""

    keyed = True
    by_load = False

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._backends = [backend for backend in backends if backend.weight > 0]
        self.keys: list[bytes] = []

    def order(self, key: bytes = b"", now: float = 0.0) -> Iterator[Backend]:
        self.keys.append(key)
        return iter(self._backends)

    def shares(self) -> Mapping[str, float]:
        return {}


def _always(strategy: Strategy, _backends: Sequence[Backend], _load: Load) -> Strategy:
    return strategy


class Balancer:
    """A `DataPlane` with one listener on a free port, and what it has reported."""

    def __init__(
        self,
        engine: Engine,
        backends: Sequence[Backend],
        *,
        strategy: Strategy | StrategyName = StrategyName.ROUND_ROBIN,
        hash_key: HashKey = HashKey.AUTO,
        timeouts: Timeouts = PATIENT,
        eject: EjectPolicy | None = None,
        rules: PoolRules | None = None,
        occupancy: Occupancy | None = None,
        admission: Admission | None = None,
        max_connections: int = 10_000,
        host: str = "127.0.0.1",
        backlog: int = 1024,
        sink: RecordSink | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        rng = Random(1)
        if rules is None:
            rules = PoolRules(key_rule=KeyRule(hash_key), eject=eject or EjectPolicy())
        if isinstance(strategy, StrategyName):
            make: StrategyMaker = MakeStrategy(strategy, rng)
        else:
            make = partial(_always, strategy)
        self.pool = Pool("web", backends, make, rng=rng, rules=rules, occupancy=occupancy)
        self.counters = Counters()
        self.records: list[Record] = []
        self._taken = 0
        self.frontend = Frontend(
            name="front",
            pool=self.pool,
            engine=engine,
            timeouts=timeouts,
            counters=self.counters,
            record=sink or self.records.append,
            admission=admission or Admission(),
            clock=clock,
        )
        self.plane = DataPlane([engine], max_connections, self.counters)
        self.address = self.listen(host, backlog=backlog)

    def listen(
        self, host: str, *, frontend: Frontend | None = None, backlog: int = 1024
    ) -> Address:
        """Listen on a free port of `host`, for the first frontend or another one; return where."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setblocking(False)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind((host, 0))
        listening.listen(backlog)
        address: Address = listening.getsockname()[:2]
        self.plane.listen(listening, frontend or self.frontend)
        return address

    async def record(self) -> Record:
        """Wait for the next session to end, and return its record."""
        self._taken += 1
        await eventually(lambda: len(self.records) >= self._taken)
        return self.records[self._taken - 1]

    async def pair(self, net: Net, server: Server) -> tuple[Peer, Peer]:
        """Open a session of a client that need not speak; return both ends."""
        client = await net.client(self.address)
        return client, await server.accept()

    async def name(self, net: Net, request: bytes = b"") -> str:
        """Open a connection to backends that greet with their name, and return the name."""
        client = await net.client(self.address)
        if request:
            await client.send(request)
        client.fin()
        data, ending = await client.until_end()
        assert ending == "fin"
        return data.decode()

    async def close(self) -> int:
        """Close the plane; nothing may be left of any session, whatever has happened."""
        async with asyncio.timeout(PATIENCE):
            cut = await self.plane.shut_down()
            await self.plane.wait_empty()
        assert self.plane.open_sessions == 0
        assert self.counters.active == 0
        assert self.frontend.active == 0
        assert self.frontend.trials == 0
        assert self.pool.active_total == 0
        assert all(self.pool.active(backend) == 0 for backend in self.pool.backends)
        return cut


class MakeBalancer(Protocol):
    """The `balancer` fixture; keyword arguments are those of `Balancer`."""

    def __call__(
        self,
        *backends: Backend,
        strategy: Strategy | StrategyName = StrategyName.ROUND_ROBIN,
        hash_key: HashKey = HashKey.AUTO,
        timeouts: Timeouts = PATIENT,
        eject: EjectPolicy | None = None,
        rules: PoolRules | None = None,
        occupancy: Occupancy | None = None,
        admission: Admission | None = None,
        max_connections: int = 10_000,
        host: str = "127.0.0.1",
        backlog: int = 1024,
        sink: RecordSink | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Balancer: ...

"""Every backend is full: clients wait in line, and nobody's place or lease is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

import pytest

from tcplb.dataplane.engine import Timeouts
from tcplb.dataplane.frontend import Frontend
from tcplb.dataplane.termination import Termination
from tcplb.policy.backend import Backend
from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.names import HashKey, KeyRule, StrategyName
from tcplb.policy.occupancy import LocalOccupancy
from tcplb.policy.outcome import Outcome
from tcplb.policy.pool import Pool
from tcplb.policy.queue import QueuePolicy
from tcplb.policy.rules import PoolRules
from tcplb.policy.transition import State, Transition
from tests.dataplane.harness import Balancer, InOrder, MakeBalancer, ManualClock, backend
from tests.dataplane.test_session_no_backend import check_503
from tests.peers import Net, Peer, echo, eventually, greet, pattern

PATIENT = QueuePolicy(size=100, timeout=600)
"""A queue whose time-out no test ever sees."""

REQUEST = b"GET /x HTTP/1.1\r\n\r\n"


def rules(
    queue: QueuePolicy = PATIENT,
    eject: EjectPolicy | None = None,
    hash_key: HashKey = HashKey.CLIENT,
) -> PoolRules:
    return PoolRules(
        key_rule=KeyRule(hash_key), queue=queue, eject=eject or EjectPolicy(failures=0)
    )


async def waiter(net: Net, lb: Balancer, data: bytes = b"") -> Peer:
    """Return a client that waits in the queue; it has said `data`."""
    before = lb.frontend.queue.waiting
    client = await net.client(lb.address)
    await client.send(data)
    await eventually(lambda: lb.frontend.queue.waiting == before + 1)
    return client


async def finish(client: Peer, upstream: Peer) -> None:
    """End a session that is open in good order."""
    upstream.fin()
    assert await client.ending() == "fin"
    client.fin()
    assert await upstream.ending() == "fin"


# -- waiting ------------------------------------------------------------------------------------


async def test_waits_for_room_and_is_served(net: Net, balancer: MakeBalancer) -> None:
    server, clock = net.server(), ManualClock()
    lb = balancer(backend(server, limit=1), rules=rules(), clock=clock)
    holder, upstream = await lb.pair(net, server)
    client = await waiter(net, lb, b"are you there?")
    clock.now += 2.5
    await finish(holder, upstream)
    assert (await lb.record()).queue_ms == 0

    upstream = await server.accept()
    assert await upstream.receive(14) == b"are you there?"
    clock.now += 4
    await finish(client, upstream)
    record = await lb.record()
    assert record.termination is Termination.NORMAL
    assert (record.queue_ms, record.connect_ms, record.total_ms) == (2500, 0, 6500)
    assert (record.backend, record.attempts) == ("b1", 1)
    assert (lb.counters.queued, lb.counters.queue_full, lb.counters.turned_away) == (1, 0, 0)
    assert lb.frontend.queue.waiting == 0


async def test_first_come_first_served(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server, limit=1), rules=rules())
    client, upstream = await lb.pair(net, server)
    others = [await waiter(net, lb, b"%02d" % number) for number in range(20)]
    for number, other in enumerate(others):
        await finish(client, upstream)
        client, upstream = other, await server.accept()
        assert await upstream.receive(2) == b"%02d" % number
    await finish(client, upstream)


async def test_whoever_comes_in_the_instant_that_room_is_made_does_not_overtake(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server, limit=1), rules=rules())
    for _ in range(10):
        holder, upstream = await lb.pair(net, server)
        first = await waiter(net, lb, b"first")
        later = await net.client(lb.address)  # and no await from here on: all in one batch
        later.put(b"later")
        upstream.reset()
        upstream = await server.accept()
        assert await upstream.receive(5) == b"first"
        await finish(first, upstream)
        upstream = await server.accept()
        assert await upstream.receive(5) == b"later"
        await finish(later, upstream)
        holder.close()


async def test_listeners_of_one_pool_have_one_line(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server, limit=1), rules=rules())
    other = Frontend(
        name="other",
        pool=lb.pool,
        engine=lb.engine,
        timeouts=Timeouts(),
        counters=lb.counters,
        record=lb.records.append,
        shared_queue=lb.frontend.queue,
    )
    addresses = [lb.listen("127.0.0.1", frontend=other), lb.address]
    client, upstream = await lb.pair(net, server)
    waiting = []
    for number in range(6):
        waiting.append(await net.client(addresses[number % 2]))
        waiting[-1].put(b"%d" % number)
        await eventually(lambda: lb.frontend.queue.waiting == len(waiting))
    for number, next_client in enumerate(waiting):
        await finish(client, upstream)
        client, upstream = next_client, await server.accept()
        assert await upstream.receive(1) == b"%d" % number
    await finish(client, upstream)
    assert other.active == 0


@pytest.mark.parametrize("size", [1, 1_000_000])
async def test_what_a_client_sends_while_it_waits_arrives_whole(
    net: Net, balancer: MakeBalancer, size: int
) -> None:
    server, data = net.server(), pattern(size)
    lb = balancer(backend(server, limit=1), rules=rules())
    holder, upstream = await lb.pair(net, server)
    client = await net.client(lb.address)
    sending = asyncio.create_task(client.send(data))
    await eventually(lambda: lb.frontend.queue.waiting == 1)
    await finish(holder, upstream)
    upstream = await server.accept()
    assert await upstream.receive(size) == data
    await sending
    await finish(client, upstream)
    await lb.record()
    assert (await lb.record()).bytes_up == size


async def test_more_than_all_buffers_hold_while_it_waits(net: Net, balancer: MakeBalancer) -> None:
    server, data = net.server(), pattern(16 * 1024 * 1024)
    lb = balancer(backend(server, limit=1), rules=rules())
    holder, upstream = await lb.pair(net, server)
    client = await net.client(lb.address)
    sent = await client.flood(data)
    assert 0 < sent < len(data)
    assert lb.frontend.queue.waiting == 1
    await finish(holder, upstream)
    upstream = await server.accept()
    sending = asyncio.create_task(client.send(data[sent:]))
    assert await upstream.receive(len(data)) == data
    await sending
    await finish(client, upstream)


async def test_time_in_the_queue_does_not_count_for_the_connect_deadline(
    net: Net, balancer: MakeBalancer
) -> None:
    server, clock = net.server(), ManualClock()
    lb = balancer(
        backend(server, limit=1),
        rules=rules(),
        clock=clock,
        timeouts=Timeouts(connect=20, connect_deadline=20),
    )
    holder, upstream = await lb.pair(net, server)
    client = await waiter(net, lb)
    clock.now += 500
    await finish(holder, upstream)
    await finish(client, await server.accept())
    await lb.record()
    record = await lb.record()
    assert (record.termination, record.queue_ms) == (Termination.NORMAL, 500_000)


async def test_one_that_has_tried_a_backend_waits_for_another_one(
    net: Net, balancer: MakeBalancer
) -> None:
    dead, server = backend(net.refusing(), "dead", limit=1), net.server()
    alive = backend(server, "alive", limit=1)
    lb = balancer(dead, alive, strategy=InOrder([dead, alive]), rules=rules())
    holder, upstream = await lb.pair(net, server)
    client = await waiter(net, lb, REQUEST)
    await finish(holder, upstream)
    upstream = await server.accept()
    assert await upstream.receive(len(REQUEST)) == REQUEST
    await finish(client, upstream)
    for _ in range(2):
        record = await lb.record()
        assert (record.backend, record.attempts) == ("alive", 2)
    assert (lb.counters.queued, lb.counters.retries) == (1, 2)


async def test_one_that_waited_for_a_backend_that_now_refuses_goes_on(
    net: Net, balancer: MakeBalancer
) -> None:
    """It waits in line again, for the backend that it has not tried."""
    first, second = net.server(), net.server()
    b1, b2 = backend(first, "b1", limit=1), backend(second, "b2", limit=1)
    lb = balancer(b1, b2, strategy=InOrder([b1, b2]), rules=rules())
    one, _ = await lb.pair(net, first)
    two, upstream_two = await lb.pair(net, second)
    client = await waiter(net, lb, REQUEST)
    await first.close()  # it has ended its connection, and refuses from now on
    one.fin()
    assert await one.ending() == "fin"
    assert (await lb.record()).backend == "b1"
    await eventually(lambda: lb.frontend.queue.waiting == 1 and lb.pool.active(b1) == 0)
    await finish(two, upstream_two)
    assert (await lb.record()).backend == "b2"
    upstream = await second.accept()
    assert await upstream.receive(len(REQUEST)) == REQUEST
    await finish(client, upstream)
    record = await lb.record()
    assert (record.backend, record.attempts) == ("b2", 2)
    assert (lb.counters.queued, lb.counters.retries) == (2, 1)


# -- leaving ------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [Peer.reset, Peer.fin, Peer.close], ids=lambda act: act.__name__)
async def test_who_leaves_the_queue_frees_its_place_at_once(
    net: Net, balancer: MakeBalancer, leave: Callable[[Peer], None]
) -> None:
    server = net.server()
    lb = balancer(backend(server, limit=1), rules=rules(QueuePolicy(size=3, timeout=600)))
    holder, upstream = await lb.pair(net, server)
    first, leaver, last = [await waiter(net, lb, b"%d" % number) for number in range(3)]
    leave(leaver)
    record = await lb.record()
    assert record.termination is Termination.CLIENT_LEFT_QUEUE
    assert (record.backend, record.attempts) == (None, 0)
    assert lb.frontend.queue.waiting == 2
    newcomer = await waiter(net, lb, b"3")  # where else it would have been refused
    for client, number in ((first, b"0"), (last, b"2"), (newcomer, b"3")):
        await finish(holder, upstream)
        holder, upstream = client, await server.accept()
        assert await upstream.receive(1) == number
    await finish(holder, upstream)
    assert server.accepted == 4
    assert lb.counters.turned_away == 0


async def test_client_that_has_ended_before_it_had_to_wait(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(
        backend(server, limit=1),
        strategy=StrategyName.HASH,
        rules=rules(hash_key=HashKey.REQUEST),
    )
    holder = await net.client(lb.address)
    await holder.send(REQUEST)
    upstream = await server.accept()
    client = await net.client(lb.address)
    client.put(REQUEST)
    client.fin()
    record = await lb.record()
    assert record.termination is Termination.CLIENT_LEFT_QUEUE
    assert await client.ending() == "reset"
    assert await upstream.receive(len(REQUEST)) == REQUEST
    await finish(holder, upstream)


@pytest.mark.parametrize("size", [0, 5, 50_000])
async def test_half_close_while_it_waits_is_no_leaving_without_abort_on_close(
    net: Net, balancer: MakeBalancer, size: int
) -> None:
    server, data = net.server(), pattern(size)
    lb = balancer(
        backend(server, limit=1), rules=rules(QueuePolicy(timeout=600, abort_on_close=False))
    )
    holder, upstream = await lb.pair(net, server)
    client = await waiter(net, lb, data)
    client.fin()
    other = await waiter(net, lb)  # so the FIN has been seen
    await finish(holder, upstream)
    upstream = await server.accept()
    assert await upstream.until_end() == (data, "fin")
    await upstream.send(b"the answer")
    upstream.fin()
    assert await client.until_end() == (b"the answer", "fin")
    await finish(other, await server.accept())
    terminations = [(await lb.record()).termination for _ in range(3)]
    assert terminations == [Termination.NORMAL] * 3


async def test_reset_is_leaving_in_any_case(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(
        backend(server, limit=1), rules=rules(QueuePolicy(timeout=600, abort_on_close=False))
    )
    holder, upstream = await lb.pair(net, server)
    client = await waiter(net, lb, b"data")
    client.reset()
    assert (await lb.record()).termination is Termination.CLIENT_LEFT_QUEUE
    await finish(holder, upstream)
    assert server.accepted == 1


async def test_room_is_made_in_the_instant_in_which_the_first_one_leaves(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server, limit=1), rules=rules())
    for leave in [Peer.reset, Peer.fin] * 10:
        holder, upstream = await lb.pair(net, server)
        leaver = await waiter(net, lb, b"gone")
        client = await waiter(net, lb, b"here")
        leave(leaver)  # no await: both events are in one batch
        upstream.reset()
        await holder.until_end()
        upstream = await server.accept()
        data = await upstream.receive_some()
        if data == b"gone":  # it was given the place before it was known to have left
            upstream.close()
            upstream = await server.accept()
            data = await upstream.receive_some()
        elif not data:
            upstream = await server.accept()
            data = await upstream.receive_some()
        assert data == b"here"
        await finish(client, upstream)
        await eventually(lambda: lb.pool.active_total == 0)
    assert lb.frontend.queue.waiting == 0


# -- refusing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "termination"),
    [(2, Termination.QUEUE_FULL), (0, Termination.ALL_FULL)],
    ids=["full", "none"],
)
async def test_full_queue_refuses_at_once(
    net: Net, balancer: MakeBalancer, size: int, termination: Termination
) -> None:
    server = net.server()
    lb = balancer(
        backend(server, limit=1),
        strategy=StrategyName.HASH,
        rules=rules(QueuePolicy(size=size, timeout=600), hash_key=HashKey.REQUEST),
    )
    holder = await net.client(lb.address)
    await holder.send(REQUEST)
    upstream = await server.accept()
    for _ in range(size):
        await waiter(net, lb, REQUEST)
    http = await net.client(lb.address)
    await http.send(REQUEST)
    await check_503(http)
    http.close()
    record = await lb.record()
    assert record.termination is termination
    assert (record.queue_ms, record.backend, record.attempts) == (0, None, 0)
    other = await net.client(lb.address)
    await other.send(b"\x16\x03\x01")
    assert await other.ending() == "reset"
    assert (await lb.record()).termination is termination
    assert lb.counters.turned_away == 2
    assert lb.counters.queue_full == (2 if size else 0)
    assert lb.counters.queued == 0  # nobody has waited to the end yet
    await upstream.receive(len(REQUEST))
    assert await lb.close() == size + 1
    assert server.accepted == 1


async def test_who_has_waited_too_long_is_turned_away(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(
        backend(server, limit=1),
        strategy=StrategyName.HASH,
        rules=rules(QueuePolicy(size=2, timeout=0.1), hash_key=HashKey.REQUEST),
    )
    holder = await net.client(lb.address)
    await holder.send(REQUEST)
    upstream = await server.accept()
    for _ in range(3):  # each time there is room for both again
        http, other = [await net.client(lb.address) for _ in range(2)]
        http.put(REQUEST)
        other.put(b"\x16\x03\x01")
        await check_503(http)
        http.close()
        assert await other.ending() == "reset"
        for _ in range(2):
            record = await lb.record()
            assert record.termination is Termination.QUEUE_TIMED_OUT
            assert record.queue_ms >= 90
            assert (record.connect_ms, record.backend, record.attempts) == (-1, None, 0)
    counters = lb.counters
    assert (counters.queued, counters.queue_timed_out, counters.queue_full) == (6, 6, 0)
    assert counters.turned_away == 6
    await upstream.receive(len(REQUEST))
    await finish(holder, upstream)
    assert server.accepted == 1


async def test_shutdown_while_it_waits(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server, limit=1), rules=rules())
    await lb.pair(net, server)
    clients = [await waiter(net, lb) for _ in range(10)]
    assert await lb.close() == 11
    for client in clients:
        assert await client.ending() == "reset"
    ended = Counter([(await lb.record()).termination for _ in range(11)])
    # Room is made by whoever is cut off first, and given to one that is cut off in turn.
    assert ended[Termination.KILLED] == 1
    assert ended[Termination.KILLED_QUEUED] == 10
    assert lb.counters.killed == 11
    assert lb.frontend.queue.waiting == 0


# -- room that nobody tells of --------------------------------------------------------------------


async def test_room_made_by_another_process_is_found(net: Net, balancer: MakeBalancer) -> None:
    """Two pools count in the same place, as those of two workers do."""
    server, shared = net.server(), LocalOccupancy(1)
    one = balancer(backend(server, limit=1), rules=rules(), occupancy=shared)
    other = balancer(backend(server, limit=1), rules=rules(), occupancy=shared)
    client, upstream = await one.pair(net, server)
    waiting = [await waiter(net, other, b"%d" % number) for number in range(3)]
    for number, next_client in enumerate(waiting):
        await finish(client, upstream)
        client, upstream = next_client, await server.accept()
        assert await upstream.receive(1) == b"%d" % number
        one, other = (one, other) if number else (other, one)
    await finish(client, upstream)
    await eventually(lambda: shared.total() == 0)


async def test_nobody_overtakes_while_room_of_another_process_is_not_found_yet(
    net: Net, balancer: MakeBalancer
) -> None:
    server, shared = net.server(), LocalOccupancy(1)
    lb = balancer(backend(server, limit=1), rules=rules(), occupancy=shared)
    for _ in range(10):
        assert shared.try_enter(0, 1)  # by the other process
        first = await waiter(net, lb, b"first")
        later = await net.client(lb.address)
        later.put(b"later")
        shared.leave(0)
        for name, client in ((b"first", first), (b"later", later)):
            upstream = await server.accept()
            assert await upstream.receive(5) == name
            await finish(client, upstream)
        await eventually(lambda: shared.total() == 0)


FOR_AN_HOUR = EjectPolicy(failures=1, base_time=3600, max_time=3600)


def eject(pool: Pool, name: str, now: float) -> None:
    """Let a connect to one backend fail."""
    others = [backend.name for backend in pool.backends if backend.name != name]
    lease = pool.acquire(b"", now=now, exclude=others)
    assert lease is not None
    pool.observe(lease, Outcome.REFUSED, now=now)
    pool.release(lease)
    assert pool.state(lease.backend) is State.EJECTED


async def test_a_recovery_ends_the_wait(net: Net, balancer: MakeBalancer) -> None:
    server, clock = net.server(), ManualClock()
    back = backend(net.server().serve(greet("back")), "back", limit=1)
    full = backend(server, "full", limit=1)
    lb = balancer(
        back, full, strategy=InOrder([back, full]), rules=rules(eject=FOR_AN_HOUR), clock=clock
    )
    eject(lb.pool, "back", clock.now)
    holder, upstream = await lb.pair(net, server)
    client = await waiter(net, lb)
    clock.now += 1
    lb.pool.learn(Transition("back", State.IN, "is back", at=clock.now), now=clock.now)
    assert await client.receive(4) == b"back"
    client.fin()
    assert await client.ending() == "fin"
    record = await lb.record()
    assert (record.backend, record.queue_ms) == ("back", 1000)
    await finish(holder, upstream)


async def test_the_first_one_who_waits_is_the_trial(net: Net, balancer: MakeBalancer) -> None:
    server, clock = net.server(), ManualClock()
    back = backend(net.server().serve(greet("back")), "back")
    full = backend(server, "full", limit=1)
    lb = balancer(
        back, full, strategy=InOrder([back, full]), rules=rules(eject=FOR_AN_HOUR), clock=clock
    )
    eject(lb.pool, "back", clock.now)
    holder, upstream = await lb.pair(net, server)
    clients = [await waiter(net, lb) for _ in range(3)]
    clock.now += 2 * 3600
    for client in clients:
        assert await client.receive(4) == b"back"
    assert lb.pool.state(back) is State.IN
    for client in clients:
        client.fin()
        assert await client.ending() == "fin"
    await finish(holder, upstream)


class Striking(InOrder):
    """Calls `strike` when it is asked for an order, once, before anybody hears of the order."""

    strike: Callable[[], None] | None = None

    def order(self, key: bytes = b"", now: float = 0.0) -> Iterator[Backend]:
        strike, self.strike = self.strike, None
        if strike is not None:
            # Whoever is given the lease that is sought now is woken by a later callback.
            asyncio.get_running_loop().call_soon(strike)
        return super().order(key, now)


async def test_cut_off_in_the_instant_that_it_is_given_the_trial(
    net: Net, balancer: MakeBalancer
) -> None:
    """The trial does not count as out for ever: the next one who waits makes it."""
    server, clock = net.server(), ManualClock()
    back = backend(net.server().serve(greet("back")), "back", limit=1)
    full = backend(server, "full", limit=1)
    strategy = Striking([back, full])
    lb = balancer(back, full, strategy=strategy, rules=rules(eject=FOR_AN_HOUR), clock=clock)
    eject(lb.pool, "back", clock.now)
    holder, upstream = await lb.pair(net, server)
    before = set(lb.plane.sessions.values())
    victim = await waiter(net, lb)
    [session] = set(lb.plane.sessions.values()) - before
    client = await waiter(net, lb)
    clock.now += 2 * 3600
    strategy.strike = session.cancel
    assert await victim.ending() == "reset"
    assert (await lb.record()).termination is Termination.KILLED_QUEUED
    assert await client.receive(4) == b"back"
    assert lb.pool.state(back) is State.IN
    client.fin()
    assert await client.ending() == "fin"
    await finish(holder, upstream)


async def test_cut_off_in_the_instant_that_it_is_given_a_lease(
    net: Net, balancer: MakeBalancer
) -> None:
    server, shared = net.server(), LocalOccupancy(1)
    only = backend(server, limit=1)
    strategy = Striking([only])
    lb = balancer(only, strategy=strategy, rules=rules(), occupancy=shared)
    assert shared.try_enter(0, 1)
    victim = await waiter(net, lb, b"victim")
    [session] = lb.plane.sessions.values()
    client = await waiter(net, lb, b"client")

    strategy.strike = session.cancel
    shared.leave(0)
    assert await victim.ending() == "reset"
    upstream = await server.accept()
    assert await upstream.receive(6) == b"client"
    await finish(client, upstream)
    assert (await lb.record()).termination is Termination.KILLED_QUEUED


# -- at random ------------------------------------------------------------------------------------

CLIENTS = 150


class Strict(LocalOccupancy):
    """Knows the most there ever were."""

    def __init__(self, limits: list[int]) -> None:
        super().__init__(len(limits))
        self.limits = limits
        self.most = [0] * len(limits)

    def try_enter(self, position: int, limit: int) -> bool:
        entered = super().try_enter(position, limit)
        self.most[position] = max(self.most[position], self.active(position))
        return entered


async def _be_echoed(client: Peer, data: bytes) -> None:
    sending = asyncio.create_task(client.send(data))
    back = bytearray()
    try:
        while len(back) < len(data):
            back += (more := await client.receive_some())
            assert more
        await sending
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert back == data


async def visit(net: Net, lb: Balancer, rng: Random, number: int) -> str:
    """Be a client at random; return what became of it: "served", "refused" or "left"."""
    for _ in range(rng.randrange(60)):
        await asyncio.sleep(0)
    client = await net.client(lb.address)
    data = b"%d %s" % (number, pattern(rng.choice([0, 10, 1000, 200_000]), number))
    act = rng.choice(["stay"] * 6 + ["reset", "fin", "close", "reset midway"])
    try:
        if act == "stay":
            await _be_echoed(client, data)
            for _ in range(rng.randrange(20)):
                await asyncio.sleep(0)
            client.fin()
            assert await client.ending() == "fin"
            return "served"
        client.put(data[:1000])
        for _ in range(rng.randrange(60)):
            await asyncio.sleep(0)
        if act == "fin":
            client.fin()
            await client.until_end()
        else:
            {"close": client.close}.get(act, client.reset)()
    except OSError:
        return "refused" if act == "stay" else "left"
    return "left"


@pytest.mark.parametrize("seed", range(6))
async def test_many_at_random(net: Net, balancer: MakeBalancer, seed: int) -> None:
    """Limits, a queue that may be too small or too slow, a dead backend, clients that leave."""
    rng = Random(seed)
    limits = [rng.choice([1, 2, 5]) for _ in range(3)]
    backends = [
        backend(net.server().serve(echo), f"b{n}", limit=limit) for n, limit in enumerate(limits)
    ]
    backends.append(backend(net.refusing(), "dead", limit=rng.choice([0, 1])))
    occupancy = Strict([*limits, backends[3].max_connections or CLIENTS])
    policy = QueuePolicy(
        size=rng.choice([10, 1000]),
        timeout=rng.choice([0.05, 600]),
        abort_on_close=rng.random() < 0.5,
    )
    eject_policy = EjectPolicy(failures=rng.choice([0, 2]), base_time=0.05, step=0, max_time=0.05)
    lb = balancer(*backends, rules=rules(policy, eject_policy), occupancy=occupancy)
    visits = [visit(net, lb, Random(f"{seed} {n}"), n) for n in range(CLIENTS)]
    became = Counter(await asyncio.gather(*visits))
    await eventually(lambda: len(lb.records) == CLIENTS)

    assert all(most <= limit for most, limit in zip(occupancy.most, occupancy.limits, strict=True))
    ended = Counter(record.termination for record in lb.records)
    turned_away = {
        Termination.QUEUE_FULL,
        Termination.QUEUE_TIMED_OUT,
        Termination.CONNECT_FAILED,
        Termination.CONNECT_TIMED_OUT,
    }
    assert became["served"] > 0
    assert became["served"] <= ended[Termination.NORMAL]
    assert became["refused"] <= sum(ended[each] for each in turned_away)
    if policy.size > CLIENTS and policy.timeout > 1:
        assert became["refused"] == 0
    assert not any(termination.code.startswith("I") for termination in ended)
    assert lb.frontend.queue.waiting == 0
    assert occupancy.total() == 0
    assert lb.counters.queued > 0

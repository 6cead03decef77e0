"""Trying again: how often one session does, and how many of them do at once."""

from __future__ import annotations

import pytest

from tcplb.dataplane.engine import Timeouts
from tcplb.dataplane.frontend import Frontend
from tcplb.dataplane.record import to_json, to_tcplog
from tcplb.dataplane.termination import Termination
from tcplb.policy.backend import Backend
from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.names import HashKey, KeyRule
from tcplb.policy.occupancy import LocalOccupancy
from tcplb.policy.queue import QueuePolicy
from tcplb.policy.retry import RetryPolicy
from tcplb.policy.rules import PoolRules
from tests.dataplane.harness import Balancer, InOrder, MakeBalancer, backend
from tests.peers import Net, eventually, greet

NEVER = EjectPolicy(failures=0)
SLOW = Timeouts(connect=60, connect_deadline=120)


def rules(retry: RetryPolicy | None = None, queue: QueuePolicy | None = None) -> PoolRules:
    return PoolRules(
        key_rule=KeyRule(HashKey.CLIENT),
        eject=NEVER,
        retry=retry or RetryPolicy(),
        queue=queue or QueuePolicy(timeout=600),
    )


@pytest.mark.parametrize("attempts", [1, 2, 3])
async def test_attempts_are_the_most_dials_of_one_session(
    net: Net, balancer: MakeBalancer, attempts: int
) -> None:
    dead = [backend(net.refusing(), f"dead{number}") for number in range(4)]
    lb = balancer(*dead, rules=rules(RetryPolicy(attempts=attempts)))
    client = await net.client(lb.address)
    assert await client.ending() == "reset"
    record = await lb.record()
    assert (record.termination, record.attempts) == (Termination.CONNECT_FAILED, attempts)
    assert lb.counters.retries == attempts - 1
    assert lb.counters.turned_away == 1
    shown = f"+{attempts - 1}" if attempts > 1 else "0"
    assert to_tcplog(record).split()[7].rsplit("/", 1)[1] == shown
    assert f'"attempts": {attempts}' in to_json(record)


async def test_the_last_attempt_may_be_the_one_that_works(net: Net, balancer: MakeBalancer) -> None:
    dead = backend(net.refusing(), "dead")
    alive = backend(net.server().serve(greet("alive")), "alive")
    lb = balancer(
        dead, alive, strategy=InOrder([dead, alive]), rules=rules(RetryPolicy(attempts=2))
    )
    assert await lb.name(net) == "alive"
    assert (await lb.record()).attempts == 2
    assert lb.counters.retries == 1


class Dials(LocalOccupancy):
    """Knows the most leases there ever were on each backend."""

    def __init__(self, backends: int) -> None:
        super().__init__(backends)
        self.most = [0] * backends

    def try_enter(self, position: int, limit: int) -> bool:
        entered = super().try_enter(position, limit)
        self.most[position] = max(self.most[position], self.active(position))
        return entered


async def _some_wait_for_the_budget(lb: Balancer, hole: Backend, clients: int, most: int) -> None:
    """Wait until all have had their first dial, and as many as may try the black hole."""
    await eventually(lambda: lb.frontend.routes[0].connect_failures == clients)
    await eventually(lambda: lb.pool.active(hole) == most)


async def test_retries_that_hang_are_not_multiplied(net: Net, balancer: MakeBalancer) -> None:
    """All first dials fail, and the second ones hang: three at once, however many want to."""
    dead, hole = backend(net.refusing(), "dead"), backend(net.blackhole(), "hole")
    dials = Dials(2)
    lb = balancer(
        dead, hole, strategy=InOrder([dead, hole]), rules=rules(), occupancy=dials, timeouts=SLOW
    )
    clients = [await net.client(lb.address) for _ in range(60)]
    await _some_wait_for_the_budget(lb, hole, 60, 3)
    assert lb.counters.retries == 3
    for client in clients:
        client.reset()
    for _ in range(57):  # the others, whose dials hang, are seen to have left when those end
        record = await lb.record()
        assert (record.termination, record.attempts) == (Termination.CLIENT_RESET_CONNECTING, 1)
    assert dials.most[1] == lb.counters.retries == 3
    assert await lb.close() == 3


async def test_a_part_of_what_is_open_may_be_trying_again(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    dead, hole = backend(net.refusing(), "dead"), backend(net.blackhole(), "hole")
    alive = backend(server, "alive")
    strategy = InOrder([alive])
    dials = Dials(3)
    lb = balancer(
        dead, hole, alive, strategy=strategy, rules=rules(), occupancy=dials, timeouts=SLOW
    )
    for _ in range(40):
        await lb.pair(net, server)
    strategy._backends = [dead, hole]
    for _ in range(30):
        await net.client(lb.address)
    # Of 40 that are open and the retries themselves: 10 are 20 % of 50.
    await _some_wait_for_the_budget(lb, hole, 30, 9)
    assert 9 <= dials.most[1] <= 10
    assert await lb.close() == 70


async def test_200_clients_at_once_with_one_of_two_dead(net: Net, balancer: MakeBalancer) -> None:
    """Waiting for the budget loses nobody."""
    dead = backend(net.refusing(), "dead")
    alive = backend(net.server().serve(greet("alive")), "alive")
    lb = balancer(dead, alive, strategy=InOrder([dead, alive]), rules=rules())
    clients = [await net.client(lb.address) for _ in range(200)]
    for client in clients:
        client.fin()
        assert await client.until_end() == (b"alive", "fin")
    for _ in clients:
        record = await lb.record()
        assert (record.termination, record.attempts) == (Termination.NORMAL, 2)
    assert lb.counters.retries == 200


async def test_waiting_for_the_budget_ends_at_the_connect_deadline(
    net: Net, balancer: MakeBalancer
) -> None:
    """Another listener of the pool, which has more time, has all of the budget."""
    dead, hole = backend(net.refusing(), "dead"), backend(net.blackhole(), "hole")
    lb = balancer(
        dead,
        hole,
        strategy=InOrder([dead, hole]),
        rules=rules(RetryPolicy(budget_min=1)),
        timeouts=Timeouts(connect=60, connect_deadline=0.2),
    )
    patient = Frontend(
        name="patient",
        pool=lb.pool,
        engine=lb.engine,
        timeouts=SLOW,
        counters=lb.counters,
        record=None,
        shared_queue=lb.frontend.queue,
    )
    await net.client(lb.listen("127.0.0.1", frontend=patient))
    await eventually(lambda: lb.pool.active(hole) == 1)
    clients = [await net.client(lb.address) for _ in range(5)]
    for client in clients:
        assert await client.ending() == "reset"
        record = await lb.record()
        assert (record.termination, record.attempts) == (Termination.CONNECT_FAILED, 1)
        assert record.queue_ms == 0
    assert lb.counters.turned_away == 5
    assert lb.counters.retries == 1
    assert await lb.close() == 1


async def test_client_that_leaves_while_it_waits_for_the_budget(
    net: Net, balancer: MakeBalancer
) -> None:
    dead, hole = backend(net.refusing(), "dead"), backend(net.blackhole(), "hole")
    lb = balancer(
        dead,
        hole,
        strategy=InOrder([dead, hole]),
        rules=rules(RetryPolicy(budget_min=1)),
        timeouts=SLOW,
    )
    dialling = await net.client(lb.address)
    await eventually(lambda: lb.pool.active(hole) == 1)
    first = await net.client(lb.address)
    second = await net.client(lb.address)
    await _some_wait_for_the_budget(lb, hole, 3, 1)
    first.reset()
    record = await lb.record()
    assert (record.termination, record.attempts) == (Termination.CLIENT_RESET_CONNECTING, 1)
    assert lb.counters.retries == 1
    second.fin()  # is no leaving
    dialling.close()
    assert await lb.close() == 2
    assert (await lb.record()).termination is Termination.KILLED_CONNECTING


async def test_shutdown_while_it_waits_for_the_budget(net: Net, balancer: MakeBalancer) -> None:
    dead, hole = backend(net.refusing(), "dead"), backend(net.blackhole(), "hole")
    lb = balancer(dead, hole, strategy=InOrder([dead, hole]), rules=rules(), timeouts=SLOW)
    for _ in range(20):
        await net.client(lb.address)
    await _some_wait_for_the_budget(lb, hole, 20, 3)
    assert await lb.close() == 20
    for _ in range(20):
        assert (await lb.record()).termination is Termination.KILLED_CONNECTING
    assert lb.frontend.queue._budget.retrying == 0


async def test_budget_is_given_back_after_every_retry(net: Net, balancer: MakeBalancer) -> None:
    """One at a time, a hundred of them: some connect, some do not."""
    dead, gone = (backend(net.refusing(), name) for name in ("dead", "gone"))
    alive = backend(net.server().serve(greet("alive")), "alive")
    one_at_a_time = RetryPolicy(budget_min=1, budget_percent=1)
    lb = balancer(
        dead, gone, alive, strategy=InOrder([dead, gone, alive]), rules=rules(one_at_a_time)
    )
    clients = [await net.client(lb.address) for _ in range(100)]
    for client in clients:
        client.fin()
        assert await client.until_end() == (b"alive", "fin")
    assert lb.counters.retries == 200
    assert lb.frontend.queue._budget.retrying == 0


async def test_a_retry_that_had_to_wait_for_room_keeps_to_the_budget(
    net: Net, balancer: MakeBalancer
) -> None:
    """Room for many is made at once, and their dials hang."""
    first, hole = backend(net.blackhole(), "first"), backend(net.blackhole(), "hole", limit=10)
    dials = Dials(2)
    lb = balancer(
        first,
        hole,
        strategy=InOrder([first, hole]),
        rules=rules(RetryPolicy(budget_min=3, budget_percent=1)),
        occupancy=dials,
        timeouts=Timeouts(connect=0.5, connect_deadline=20),
    )
    for _ in range(10):
        assert dials.try_enter(1, 10)  # by another process
    for _ in range(20):
        await net.client(lb.address)
    await eventually(lambda: lb.frontend.queue.waiting == 20)
    for _ in range(10):
        dials.leave(1)
    await eventually(lambda: dials.active(1) == 10)
    await eventually(lambda: lb.counters.retries >= 3)
    assert lb.counters.retries == 3
    assert lb.frontend.queue._budget.retrying == 3
    assert await lb.close() == 20

"""A dead backend with a live one beside it is invisible to clients."""

from __future__ import annotations

import logging
from itertools import count

import pytest

from tcplb.dataplane.engine import Timeouts
from tcplb.dataplane.termination import Termination
from tcplb.policy.backend import Backend
from tcplb.policy.transition import State
from tests.dataplane.harness import InOrder, MakeBalancer, backend
from tests.peers import Net, eventually, greet


async def test_refused_connect_is_invisible(net: Net, balancer: MakeBalancer) -> None:
    dead, alive = (
        backend(net.refusing(), "dead"),
        backend(net.server().serve(greet("alive")), "alive"),
    )
    lb = balancer(dead, alive, strategy=InOrder([dead, alive]))
    assert await lb.name(net) == "alive"
    record = await lb.record()
    assert (record.backend, record.attempts) == ("alive", 2)
    assert record.termination is Termination.NORMAL


async def test_order_is_kept_and_each_is_tried_once(
    net: Net, balancer: MakeBalancer, caplog: pytest.LogCaptureFixture
) -> None:
    dead = [backend(net.refusing(), f"dead{number}") for number in range(4)]
    alive = backend(net.server().serve(greet("alive")), "alive")
    never = backend(net.server().serve(greet("never")), "never")
    order = [dead[2], dead[0], dead[3], dead[1], alive, never]
    lb = balancer(*dead, alive, never, strategy=InOrder(order))
    with caplog.at_level(logging.DEBUG, "tcplb.session"):
        assert await lb.name(net) == "alive"
    assert (await lb.record()).attempts == 5
    tried = [line for line in caplog.messages if "connect to" in line]
    assert tried == [
        f"pool web: connect to {name}: refused" for name in ("dead2", "dead0", "dead3", "dead1")
    ]


async def test_three_failures_eject(
    net: Net, balancer: MakeBalancer, caplog: pytest.LogCaptureFixture
) -> None:
    dead, alive = (
        backend(net.refusing(), "dead"),
        backend(net.server().serve(greet("alive")), "alive"),
    )
    lb = balancer(dead, alive, strategy=InOrder([dead, alive]))
    attempts = []
    for _ in range(6):
        assert await lb.name(net) == "alive"
        attempts.append((await lb.record()).attempts)
    assert attempts == [2, 2, 2, 1, 1, 1]
    assert lb.pool.state(dead) is State.EJECTED
    ejections = [record for record in caplog.records if record.name == "tcplb.health"]
    assert len(ejections) == 1  # transitions are logged, not states
    assert "backend dead ejected for" in ejections[0].getMessage()
    assert ejections[0].levelno == logging.WARNING


async def test_blackholed_backend_costs_one_connect_time_out_until_it_is_ejected(
    net: Net, balancer: MakeBalancer
) -> None:
    hole = backend(net.blackhole(), "hole")
    alive = backend(net.server().serve(greet("alive")), "alive")
    timeouts = Timeouts(connect=0.2, connect_deadline=20)
    lb = balancer(hole, alive, strategy=InOrder([hole, alive]), timeouts=timeouts)
    for _ in range(3):
        assert await lb.name(net) == "alive"
        record = await lb.record()
        assert (record.backend, record.attempts) == ("alive", 2)
        assert record.connect_ms >= 150
    assert lb.pool.state(hole) is State.EJECTED
    for _ in range(3):
        assert await lb.name(net) == "alive"
        assert (await lb.record()).attempts == 1


async def test_connect_deadline_bounds_all_dials_together(net: Net, balancer: MakeBalancer) -> None:
    holes = [backend(net.blackhole(), f"hole{number}") for number in range(3)]
    lb = balancer(*holes, timeouts=Timeouts(connect=60, connect_deadline=0.3))
    client = await net.client(lb.address)
    assert await client.ending() == "reset"
    record = await lb.record()
    assert record.termination is Termination.CONNECT_TIMED_OUT
    # The loop's timers count in whole ms, so a dial may end just before the deadline.
    assert record.attempts in (1, 2)


async def test_deadline_that_is_over_stops_the_retries(net: Net, balancer: MakeBalancer) -> None:
    """Every look at this clock is 10 s later."""
    dead = [backend(net.refusing(), f"dead{number}") for number in range(4)]
    ticks = count(0, 10)
    lb = balancer(
        *dead, timeouts=Timeouts(connect=5, connect_deadline=55), clock=lambda: float(next(ticks))
    )
    client = await net.client(lb.address)
    assert await client.ending() == "reset"
    record = await lb.record()
    assert record.termination is Termination.CONNECT_FAILED
    assert record.attempts == 2


async def test_name_that_cannot_be_resolved_is_a_failure_like_others(
    net: Net, balancer: MakeBalancer
) -> None:
    unknown = Backend("unknown", "no-such-host.invalid", 80)
    alive = backend(net.server().serve(greet("alive")), "alive")
    lb = balancer(unknown, alive, strategy=InOrder([unknown, alive]))
    assert await lb.name(net) == "alive"
    assert (await lb.record()).attempts == 2


async def test_many_at_once_with_one_dead_of_four(net: Net, balancer: MakeBalancer) -> None:
    alive = [backend(net.server().serve(greet(f"b{n}")), f"b{n}") for n in range(3)]
    lb = balancer(backend(net.refusing(), "dead"), *alive)
    clients = [await net.client(lb.address) for _ in range(200)]
    names = set()
    for client in clients:
        client.fin()
        name, ending = await client.until_end()
        assert ending == "fin"
        names.add(name)
    assert names == {b"b0", b"b1", b"b2"}
    for _ in clients:
        assert (await lb.record()).termination is Termination.NORMAL


async def test_client_that_leaves_while_a_backend_is_dialled(
    net: Net, balancer: MakeBalancer
) -> None:
    hole = backend(net.blackhole(), "hole")
    server = net.server()
    alive = backend(server, "alive")
    lb = balancer(hole, alive, strategy=InOrder([hole, alive]), timeouts=Timeouts(connect=0.5))
    client = await net.client(lb.address)
    await eventually(lambda: lb.pool.active(hole) == 1)
    client.reset()
    record = await lb.record()
    assert record.termination is Termination.CLIENT_RESET_CONNECTING
    assert (record.backend, record.attempts) == ("hole", 1)
    assert server.accepted == 0

"""An ejected backend comes back by one trial, and no client is held up by it."""

from __future__ import annotations

import logging

import pytest

from tcplb.dataplane.engine import Timeouts
from tcplb.dataplane.termination import Termination
from tcplb.policy.backend import Backend
from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.outcome import Outcome
from tcplb.policy.transition import State
from tests.dataplane.harness import Balancer, InOrder, MakeBalancer, backend
from tests.peers import PATIENCE, Blackhole, Net, eventually, greet

AT_ONCE = EjectPolicy(failures=1, base_time=0, step=0, max_time=0)
"""One failure ejects, and the next connection is the trial already."""

FOR_GOOD = EjectPolicy(failures=1, base_time=3600, max_time=3600)


async def test_backend_that_is_back_is_served_by_again(
    net: Net, balancer: MakeBalancer, caplog: pytest.LogCaptureFixture
) -> None:
    port = net.refusing()
    flaky, alive = backend(port, "flaky"), backend(net.server().serve(greet("alive")), "alive")
    lb = balancer(flaky, alive, strategy=InOrder([flaky, alive]), eject=AT_ONCE)
    assert await lb.name(net) == "alive"
    assert lb.pool.state(flaky) is State.EJECTED
    assert await lb.name(net) == "alive"  # a trial, and it is refused
    assert lb.pool.state(flaky) is State.EJECTED

    await port.close()
    net.server(port=port.port).serve(greet("flaky"))
    with caplog.at_level(logging.INFO, "tcplb.health"):
        assert await lb.name(net) == "flaky"
    assert lb.pool.state(flaky) is State.IN
    assert "pool web: backend flaky is back: a connect succeeded" in caplog.messages
    assert await lb.name(net) == "flaky"
    attempts = [(await lb.record()).attempts for _ in range(4)]
    assert attempts == [2, 2, 1, 1]


async def test_trial_of_a_blackholed_backend_holds_nobody(net: Net, balancer: MakeBalancer) -> None:
    """The dial of the trial goes on for as long as it may, but its client goes on at once."""
    lb, hole = await _with_an_ejected_hole(net, balancer, late_time_out=PATIENCE)
    assert await lb.name(net) == "alive"
    record = await lb.record()
    assert (record.backend, record.attempts) == ("alive", 2)
    assert lb.pool.state(hole) is State.ON_TRIAL
    assert lb.pool.active(hole) == 1  # the late dial
    for _ in range(3):  # while it lasts, the others pass by
        assert await lb.name(net) == "alive"
        assert (await lb.record()).attempts == 1
    await lb.close()
    assert lb.pool.state(hole) is State.EJECTED  # nothing was learnt: the next one may try
    assert lb.pool.active(hole) == 0


async def test_late_failure_of_a_trial_ejects_for_longer(
    net: Net, balancer: MakeBalancer, caplog: pytest.LogCaptureFixture
) -> None:
    lb, hole = await _with_an_ejected_hole(net, balancer, late_time_out=0.5)
    assert await lb.name(net) == "alive"
    await eventually(lambda: lb.pool.state(hole) is State.EJECTED)
    assert lb.pool.active(hole) == 0
    assert "its trial connect was timed out" in caplog.messages[-1]


async def test_late_success_of_a_trial_brings_the_backend_back(
    net: Net, balancer: MakeBalancer
) -> None:
    port = net.blackhole()
    lb, hole = await _with_an_ejected_hole(net, balancer, late_time_out=PATIENCE, port=port)
    assert await lb.name(net) == "alive"
    port.relieve()
    await eventually(lambda: lb.pool.state(hole) is State.IN)
    assert lb.pool.active(hole) == 0


async def test_client_that_is_cut_off_during_a_trial_leaves_the_verdict_to_it(
    net: Net, balancer: MakeBalancer
) -> None:
    lb, hole = await _with_an_ejected_hole(net, balancer, late_time_out=PATIENCE)
    client = await net.client(lb.address)
    await eventually(lambda: lb.pool.state(hole) is State.ON_TRIAL)
    assert await lb.close() == 1
    assert await client.ending() == "reset"
    assert (await lb.record()).termination is Termination.KILLED_CONNECTING
    assert lb.pool.active(hole) == 0
    assert lb.pool.state(hole) is State.EJECTED


async def test_all_ejected_means_that_all_are_used(net: Net, balancer: MakeBalancer) -> None:
    ports = [net.refusing(), net.refusing()]
    first, second = (backend(port, f"b{number}") for number, port in enumerate(ports))
    lb = balancer(first, second, strategy=InOrder([first, second]), eject=FOR_GOOD)
    client = await net.client(lb.address)
    assert await client.ending() == "reset"
    assert (await lb.record()).attempts == 2
    assert lb.pool.state(first) is State.EJECTED
    assert lb.pool.state(second) is State.IN  # the last usable one is never ejected

    await ports[0].close()
    net.server(port=ports[0].port).serve(greet("b0"))
    assert await lb.name(net) == "b0"  # though it is ejected for an hour
    assert lb.pool.state(first) is State.IN


async def _with_an_ejected_hole(
    net: Net, balancer: MakeBalancer, *, late_time_out: float, port: Blackhole | None = None
) -> tuple[Balancer, Backend]:
    """Return a balancer that prefers a blackholed backend, for which a trial is due."""
    hole = backend(port or net.blackhole(), "hole")
    alive = backend(net.server().serve(greet("alive")), "alive")
    lb = balancer(
        hole,
        alive,
        strategy=InOrder([hole, alive]),
        eject=AT_ONCE,
        timeouts=Timeouts(connect=late_time_out, connect_deadline=2 * late_time_out),
    )
    lease = lb.pool.acquire(b"", now=0.0)
    assert lease is not None
    lb.pool.observe(lease, Outcome.TIMED_OUT, now=0.0)
    lb.pool.release(lease)
    assert lb.pool.state(hole) is State.EJECTED
    return lb, hole

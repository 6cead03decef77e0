"""Every test of the folder runs on uvloop, as production does, and on every engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import uvloop

from tcplb.dataplane.engine import Engine
from tcplb.policy.backend import Backend
from tests.dataplane.harness import ENGINES, Balancer, MakeBalancer, open_fds, other_tasks
from tests.peers import Net, eventually


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def no_leaks() -> AsyncIterator[None]:
    """Descriptors and tasks are the same after the test as before it."""
    before = open_fds()
    yield
    try:
        await eventually(lambda: open_fds() <= before and not other_tasks())
    except TimeoutError:
        pytest.fail(f"left behind: {open_fds() - before}, {other_tasks()}")


@pytest.fixture
async def net(no_leaks: None) -> AsyncIterator[Net]:
    net = Net()
    yield net
    await net.close()


@pytest.fixture(params=list(ENGINES.values()), ids=list(ENGINES))
async def engine(request: pytest.FixtureRequest) -> Engine:
    make: Callable[[], Engine] = request.param
    return make()


@pytest.fixture
async def balancer(net: Net, engine: Engine) -> AsyncIterator[MakeBalancer]:
    """Return a factory of balancers; what they leave behind is checked at the end."""
    balancers: list[Balancer] = []

    def make(*backends: Backend, **options: Any) -> Balancer:
        balancers.append(Balancer(engine, backends, **options))
        return balancers[-1]

    yield make
    for balancer in balancers:
        await balancer.close()

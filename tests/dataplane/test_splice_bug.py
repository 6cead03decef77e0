"""A bug of ours in the middle of the byte path ends its session, and no other."""

from __future__ import annotations

import logging

import pytest

from tcplb.dataplane.pipes import Pipe, PipePool
from tcplb.dataplane.splice import SpliceEngine
from tcplb.dataplane.termination import Termination
from tests.dataplane.harness import MakeBalancer, backend
from tests.peers import Net, pattern


class BrokenPool(PipePool):
    """Raises where a pump wants a pipe, as a bug would."""

    def take(self) -> Pipe | None:
        raise ZeroDivisionError("a bug of ours")


@pytest.fixture
async def engine() -> SpliceEngine:
    engine = SpliceEngine()
    engine.pipes = BrokenPool(1)
    return engine


async def test_bug_in_a_pump_ends_its_session_only(
    net: Net, balancer: MakeBalancer, caplog: pytest.LogCaptureFixture
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    other, other_upstream = await lb.pair(net, server)
    client.send_what_fits(memoryview(pattern(1_000_000)))
    _, ending = await upstream.until_end()
    assert ending == "reset"
    assert await client.ending() == "reset"
    assert (await lb.record()).termination is Termination.BUG
    [logged] = [entry for entry in caplog.records if entry.levelno >= logging.ERROR]
    assert logged.getMessage() == "internal error in a session; the others go on"
    await other.send(b"goes on")
    assert await other_upstream.receive(7) == b"goes on"
    caplog.clear()  # the traceback holds the session

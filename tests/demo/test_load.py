from __future__ import annotations

import asyncio

import pytest

from echo_backends import EchoServer
from tcplb.demo.load import LightLoad
from tcplb.loadgen.tally import Tally
from tests.mark import Mark
from tests.processes import WAIT, eventually


class Watched:
    """A light load on a server of our own, what it has told, and its processes."""

    def __init__(self, port: int) -> None:
        self.answered = 0
        self.errors = 0
        self.trouble: list[str] = []
        self.ticked = asyncio.Event()
        self.load = LightLoad(port, on_tick=self._on_tick, on_trouble=self.trouble.append)

    async def tick(self) -> None:
        """Wait until it has measured something more."""
        self.ticked.clear()
        await asyncio.wait_for(self.ticked.wait(), WAIT)

    def _on_tick(self, tally: Tally) -> None:
        self.answered += tally.requests
        self.errors += tally.errors
        if tally.requests or tally.errors:
            self.ticked.set()


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Mark:
    made = Mark()
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


async def test_it_can_be_started_and_stopped_again_and_again(mark: Mark) -> None:
    async with EchoServer() as server:
        watched = Watched(server.port)
        async with watched.load as load:
            seen = [load.on]
            for _ in range(2):
                load.start()
                seen.append(load.on)
                load.start()
                await watched.tick()
                await load.stop()
                seen.append(load.on)
                assert mark.processes() == {}
        assert seen == [False, True, False, True, False]
        assert watched.trouble == []
        assert watched.errors == 0
        # What is under way when it is stopped is dropped.
        assert 0 < watched.answered <= server.connections


async def test_it_can_be_stopped_before_it_has_begun(mark: Mark) -> None:
    watched = Watched(1)
    async with watched.load as load:
        load.start()
        await load.stop()
        await load.stop()
        load.start()
        # Its process has been started, but has no word to begin yet.
        await asyncio.to_thread(eventually, lambda: bool(mark.processes()))
    assert not load.on
    assert mark.processes() == {}
    assert watched.trouble == []


async def test_a_stop_that_is_cancelled_is_made_up_for_at_the_end(mark: Mark) -> None:
    async with EchoServer() as server:
        watched = Watched(server.port)
        async with watched.load as load:
            load.start()
            await watched.tick()
            stopping = asyncio.create_task(load.stop())
            await asyncio.sleep(0)
            stopping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stopping
        assert not load.on
        assert mark.processes() == {}
        assert watched.trouble == []


async def test_failures_are_counted_and_a_death_is_told(mark: Mark) -> None:
    async with EchoServer() as server:
        port = server.port
    watched = Watched(port)  # nobody listens there any more
    async with watched.load as load:
        load.start()
        await watched.tick()
        assert watched.errors > 0 == watched.answered
        mark.kill()
        await asyncio.to_thread(eventually, lambda: not load.on)
        assert len(watched.trouble) == 1
        assert watched.trouble[0].startswith("the light load ended: ")

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tcplb.testbed.backends import Backends
from tcplb.testbed.balancer import Balancer, Event, SessionLine
from tcplb.testbed.errors import BedError
from tests.processes import WAIT
from tests.testbed.conftest import Leftovers
from tests.testbed.heard import Heard, talk

SHORT_EJECTIONS = """
[pools.default]
backends = [{address = "127.0.0.1:1"}]
eject = {base_time = "100ms", step = "0s"}
"""
"""The backend is replaced by those on the command line."""


@pytest.fixture
async def backends() -> AsyncIterator[Backends]:
    async with Backends(ports=(0, 0)) as running:
        yield running


def by(backend: str) -> Callable[[SessionLine], bool]:
    return lambda line: line.backend == backend


def listening(event: Event) -> bool:
    return event.text.startswith("listening on ")


async def test_it_spreads_connections_and_says_what_happens(backends: Backends) -> None:
    events, sessions = Heard[Event](), Heard[SessionLine]()
    async with Balancer(
        backends.names, strategy="round-robin", on_event=events, on_session=sessions
    ) as balancer:
        assert balancer.address == f"127.0.0.1:{balancer.port}"
        assert balancer.strategy == "round-robin"
        assert not balancer.moved
        os.kill(balancer.pid, 0)  # it is there
        said = next(event for event in events.all if listening(event))
        assert said.text.startswith(f"listening on {balancer.address}: ")
        assert "round-robin, backends: 2" in said.text
        for _ in backends.names:
            assert await talk(balancer.address) == b"\x01hello"
        # The lines come while it runs, not only at its end.
        seen = {(await sessions.wait_for(by(name))).backend for name in backends.names}
        assert seen == set(backends.names)
    for line in sessions.all:
        assert (line.bytes_up, line.bytes_down, line.attempts) == (6, 6, 1)
        assert (line.termination, line.active_on_backend) == ("--", 1)
    assert events.all[-1].text.startswith("stopped after 2 connections")


async def test_a_port_in_use_is_replaced(backends: Backends) -> None:
    events = Heard[Event]()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with Balancer(backends.names, port=port, on_event=events) as balancer:
            assert balancer.moved
            assert balancer.port != port
            assert await talk(balancer.address) == b"\x01hello"
    assert not any("cannot listen" in event.text for event in events.all)


@pytest.mark.parametrize(
    ("names", "settings", "words"),
    [
        (["127.0.0.1:1"], {"strategy": "nope"}, r"exit code 2.*--strategy: must be one of .*nope"),
        (["127.0.0.1"], {}, r"exit code 2.*--backend: address: must be HOST:PORT"),
        (["127.0.0.1:1"], {"host": "192.0.2.1"}, r"exit code 4.*cannot listen on 192\.0\.2\.1"),
        (["127.0.0.1:1"], {"flags": ("--access-log", "/no/file")}, r"exit code 1.*/no/file"),
    ],
)
async def test_one_that_cannot_start_is_an_error_in_its_own_words(
    names: list[str], settings: dict[str, str], words: str, leftovers: Leftovers
) -> None:
    with pytest.raises(BedError, match=f"(?s)^the balancer did not start .*{words}"):
        await Balancer(names, **settings).__aenter__()  # type: ignore[arg-type]
    assert leftovers() == []


async def test_it_is_restarted_on_its_port_with_another_strategy(backends: Backends) -> None:
    events, sessions = Heard[Event](), Heard[SessionLine]()
    async with Balancer(backends.names, on_event=events, on_session=sessions) as balancer:
        address, pid = balancer.address, balancer.pid
        ended = asyncio.create_task(balancer.ended(), name="ended")
        await talk(address)
        await balancer.restart("least-connections")
        assert len(sessions.all) == 1  # what was not yet written is not lost
        assert (balancer.address, balancer.strategy) == (address, "least-connections")
        assert balancer.pid != pid
        assert await talk(address) == b"\x01hello"
        assert not ended.done()  # that was our doing
        os.kill(balancer.pid, signal.SIGTERM)
        assert await asyncio.wait_for(ended, WAIT) == 0
    said = [event.text for event in events.all if listening(event)]
    assert [re.findall(r"\(([a-z-]+),", text) for text in said] == [["hash"], ["least-connections"]]
    assert len(sessions.all) == 2


async def test_one_that_is_killed_and_restarted_can_end_again(backends: Backends) -> None:
    async with Balancer(backends.names) as balancer:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(balancer.ended(), 0.01)  # who gives up spoils it for nobody
        os.kill(balancer.pid, signal.SIGKILL)
        assert await asyncio.wait_for(balancer.ended(), WAIT) == -signal.SIGKILL
        await balancer.restart("hash")
        assert await talk(balancer.address) == b"\x01hello"
        ended = asyncio.create_task(balancer.ended(), name="ended")
    assert await asyncio.wait_for(ended, WAIT) == 0


async def test_a_restart_that_fails_is_an_error_and_leaves_none(leftovers: Leftovers) -> None:
    async with Balancer(["127.0.0.1:1"]) as balancer:
        with pytest.raises(BedError, match="--strategy: must be one of"):
            await balancer.restart("nope")
        assert leftovers() == []


async def test_before_its_start_there_is_nothing_to_ask() -> None:
    balancer = Balancer(["127.0.0.1:1"])
    with pytest.raises(BedError):
        _ = balancer.pid
    with pytest.raises(BedError):
        await balancer.ended()


async def test_without_sessions_it_writes_none(backends: Backends) -> None:
    sessions = Heard[SessionLine]()
    async with Balancer(backends.names, sessions=False, on_session=sessions) as balancer:
        assert await talk(balancer.address) == b"\x01hello"
    assert sessions.all == []


async def test_settings_in_the_environment_are_not_for_it(
    backends: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TCPLB_MAX_CONNECTIONS", "nonsense")
    async with Balancer(backends.names) as balancer:
        assert await talk(balancer.address) == b"\x01hello"


async def test_none_is_left_when_the_body_raises(leftovers: Leftovers) -> None:
    async def body() -> None:
        async with Balancer(["127.0.0.1:1"], flags=("--workers", "2")):
            assert len(leftovers()) == 3
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await body()
    assert leftovers() == []


async def test_none_is_left_when_the_body_is_cancelled_and_a_connection_is_open(
    backends: Backends, leftovers: Leftovers
) -> None:
    running = asyncio.Event()
    events = Heard[Event]()

    async def body() -> None:
        async with Balancer(backends.names, on_event=events) as balancer:
            reader, writer = await asyncio.open_connection("127.0.0.1", balancer.port)
            writer.write(b"\x01")
            assert await reader.read(1) == b"\x01"
            running.set()
            try:
                await asyncio.Event().wait()
            finally:
                await balancer.__aexit__(None, None, None)
                writer.close()

    task = asyncio.create_task(body(), name="body")
    await asyncio.wait_for(running.wait(), WAIT)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert leftovers() == []
    assert any(event.text.startswith("closed 1 connections") for event in events.all)


async def test_a_kill_and_a_return_are_events(backends: Backends, tmp_path: Path) -> None:
    config = tmp_path / "tcplb.toml"
    config.write_text(SHORT_EJECTIONS)
    events = Heard[Event]()
    settings = {"strategy": "round-robin", "flags": ("--config", str(config))}
    async with Balancer(backends.names, on_event=events, **settings) as balancer:  # type: ignore[arg-type]
        victim = backends.names[1]
        await backends.kill(victim)
        ejected = await until(events, "ejected", balancer)
        assert (ejected.backend, ejected.level) == (victim, "warning")
        assert "connects in a row failed" in ejected.text
        await backends.revive(victim)
        returned = await until(events, "returned", balancer)
        assert (returned.backend, returned.level) == (victim, "info")
        assert returned.at > ejected.at


async def until(events: Heard[Event], kind: str, balancer: Balancer) -> Event:
    """Keep up traffic until there is such an event; every connection has to work."""
    wait = asyncio.create_task(events.wait_for(lambda event: event.kind == kind), name=kind)
    while not wait.done():  # it gives up in time
        assert await talk(balancer.address) == b"\x01hello"
    return await wait

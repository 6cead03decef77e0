from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys

import pytest

from tcplb.testbed.backends import Backends
from tcplb.testbed.errors import BedError
from tests.processes import free_port
from tests.testbed.conftest import Leftovers
from tests.testbed.heard import Heard, talk

READY = re.compile(r"backend (\S+) pid (\d+)")


async def test_each_is_a_process_that_listens_and_says_so(leftovers: Leftovers) -> None:
    lines = Heard[str]()
    async with Backends(on_line=lines) as backends:
        assert len(set(backends.names)) == 4
        assert backends.moved == {}
        for name in backends.names:
            assert await talk(name) == b"\x01hello"
            assert backends.alive(name)
        pids = {name: backends.pid(name) for name in backends.names}
        said = [match for line in lines.all if (match := READY.fullmatch(line))]
        assert {match[1]: int(match[2]) for match in said} == pids
        assert sorted(leftovers()) == sorted(pid for pid in pids.values() if pid)
    assert leftovers() == []
    assert not any(backends.alive(name) for name in backends.names)
    assert len(lines.all) == 4


async def test_wished_ports_are_used_in_their_order() -> None:
    ports = [free_port(), free_port()]
    async with Backends(ports=ports) as backends:
        assert backends.names == tuple(f"127.0.0.1:{port}" for port in ports)


async def test_a_port_in_use_is_replaced_and_named() -> None:
    lines = Heard[str]()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with Backends(ports=(0, port), on_line=lines) as backends:
            (moved,) = backends.moved.items()
            assert moved == (port, int(backends.names[1].rpartition(":")[2]))
            assert moved[1] != port
            assert await talk(backends.names[1]) == b"\x01hello"
            assert all(READY.fullmatch(line) for line in lines.all)


async def test_host_and_flags_are_passed_on() -> None:
    async with Backends(ports=(0,), host="127.0.0.2", flags=("--greeting", "hi")) as backends:
        assert backends.names[0].startswith("127.0.0.2:")
        assert await talk(backends.names[0]) == b"hi\x01hello"


async def test_one_is_killed_and_revived() -> None:
    lines = Heard[str]()
    async with Backends(ports=(0, 0), on_line=lines) as backends:
        victim, other = backends.names
        pid = backends.pid(victim)
        await backends.kill(victim)
        assert not backends.alive(victim)
        assert backends.pid(victim) is None
        with pytest.raises(ConnectionRefusedError):
            await talk(victim)
        assert backends.alive(other)
        assert await talk(other) == b"\x01hello"
        assert len(lines.all) == 2

        await backends.revive(victim)
        assert backends.alive(victim)
        assert backends.pid(victim) != pid
        assert backends.names == (victim, other)
        assert await talk(victim) == b"\x01hello"
        assert lines.all[2] == f"backend {victim} pid {backends.pid(victim)}"

        await backends.kill(victim)
        await backends.kill(victim)  # again is fine
        await backends.revive(victim)
        await backends.revive(victim)
        assert await talk(victim) == b"\x01hello"


@pytest.mark.skipif(sys.platform != "linux", reason="the port cannot be held elsewhere")
async def test_the_port_of_a_killed_one_is_given_to_no_connection() -> None:
    lines = Heard[str]()
    async with Backends(ports=(0,), on_line=lines) as backends:
        (name,) = backends.names
        host, _, port = name.rpartition(":")
        await backends.kill(name)
        with socket.socket() as client, pytest.raises(OSError, match="in use"):
            client.bind((host, int(port)))
        # What somebody else kills is theirs to replace.
        await backends.revive(name)
        os.kill(backends.pid(name) or 0, signal.SIGKILL)
        await lines.wait_for(lambda line: "ended" in line)
        with socket.socket() as client:
            client.bind((host, int(port)))
        await backends.revive(name)
        await backends.kill(name)
    with socket.socket() as client:
        client.bind((host, int(port)))  # let go of at the end


async def test_one_whose_port_was_taken_meanwhile_cannot_be_revived() -> None:
    async with Backends(ports=(0,)) as backends:
        (name,) = backends.names
        host, _, port = name.rpartition(":")
        await backends.kill(name)
        with socket.create_server((host, int(port))):
            with pytest.raises(BedError, match=f"cannot listen on {name}"):
                await backends.revive(name)
            assert not backends.alive(name)
        await backends.revive(name)
        assert await talk(name) == b"\x01hello"


async def test_one_that_somebody_else_kills_is_noticed() -> None:
    lines = Heard[str]()
    async with Backends(ports=(0, 0), on_line=lines) as backends:
        name, pid = backends.names[1], backends.pid(backends.names[1])
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await lines.wait_for(f"backend {name} pid {pid} ended: killed by SIGKILL".__eq__)
        assert not backends.alive(name)
        assert backends.alive(backends.names[0])
        await backends.revive(name)
        assert await talk(name) == b"\x01hello"


async def test_a_wrong_flag_is_an_error_in_its_own_words(leftovers: Leftovers) -> None:
    with pytest.raises(
        BedError, match=r"(?s)did not start \(exit code 2\): .*'--delay': 'nonsense'"
    ):
        await Backends(flags=("--delay", "nonsense")).__aenter__()
    assert leftovers() == []


async def test_a_host_that_is_not_here_is_an_error(leftovers: Leftovers) -> None:
    with pytest.raises(BedError, match=r"\(exit code 4\): .*cannot listen on 192\.0\.2\.1"):
        await Backends(ports=(0, 1), host="192.0.2.1").__aenter__()
    assert leftovers() == []


async def test_none_is_left_when_the_body_raises(leftovers: Leftovers) -> None:
    async def body() -> None:
        async with Backends(ports=(0, 0)):
            assert len(leftovers()) == 2
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await body()
    assert leftovers() == []


async def test_none_is_left_when_the_body_is_cancelled(leftovers: Leftovers) -> None:
    running = asyncio.Event()

    async def body() -> None:
        async with Backends(ports=(0, 0)) as backends:
            await backends.kill(backends.names[0])
            running.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(body(), name="body")
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert leftovers() == []


async def test_none_is_left_when_the_start_is_cancelled(leftovers: Leftovers) -> None:
    lines = Heard[str]()
    task = asyncio.create_task(Backends(on_line=lines).__aenter__(), name="start")
    await lines.wait_for(lambda line: READY.fullmatch(line) is not None)  # one is complete
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert leftovers() == []


@pytest.mark.parametrize("turns", [1, 2, 3, 10])
async def test_none_is_left_when_the_end_is_cancelled(turns: int, leftovers: Leftovers) -> None:
    backends = Backends(ports=(0, 0))
    await backends.__aenter__()
    for name in backends.names:
        os.kill(backends.pid(name) or 0, signal.SIGSTOP)  # it does not hear SIGTERM
    end = asyncio.create_task(backends.__aexit__(None, None, None), name="end")
    for _ in range(turns):  # of the loop: it has come more or less far
        await asyncio.sleep(0)
    end.cancel()
    with pytest.raises(asyncio.CancelledError):
        await end
    assert leftovers() == []

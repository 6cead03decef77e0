from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest

from tcplb.control.doctor.backends import check_backends
from tcplb.control.doctor.finding import Finding, Level
from tests.control.doctor.machines import config, over
from tests.processes import WAIT, free_port

Server = Callable[[], str]


@pytest.fixture
def server() -> Iterator[Server]:
    """Starts what accepts connections (in its backlog), and returns its address."""
    with ExitStack() as stack:

        def start() -> str:
            sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            return "127.0.0.1:{1}".format(*sock.getsockname())

        yield start


async def findings(*backends: str, **others: Any) -> list[Finding]:
    tables = {"listeners": [{"connect_timeout": 30.0}]} | over(*backends) | others
    return await check_backends(config(**tables))


async def test_one_that_answers(server: Server) -> None:
    address = server()
    (finding,) = await findings(address)
    assert (finding.check, finding.level) == (f"backend default/{address}", Level.OK)
    assert finding.what.startswith(f"{address} answered after ")
    assert finding.what.endswith(" ms")


async def test_the_time_is_the_clock_s(server: Server) -> None:
    ticks = count(0.0, 0.25)
    settings = {"listeners": [{"connect_timeout": 0.5}]} | over(server())
    (finding,) = await check_backends(config(**settings), clock=lambda: next(ticks))
    assert finding.what.endswith("answered after 250.0 ms")
    assert finding.level is Level.OK


async def test_an_answer_late_within_the_time_out_is_a_warning(server: Server) -> None:
    ticks = count(0.0, 16.0)
    settings = {"listeners": [{"connect_timeout": 30.0}]} | over(server())
    (finding,) = await check_backends(config(**settings), clock=lambda: next(ticks))
    assert finding.level is Level.WARNING
    assert finding.what.endswith("answered after 16000.0 ms, and connect_timeout is 30s")


async def test_one_that_refuses(server: Server) -> None:
    good, bad = server(), f"127.0.0.1:{free_port()}"
    fine, refused = await findings(good, bad)
    assert fine.level is Level.OK
    assert (refused.level, refused.what) == (Level.PROBLEM, f"{bad} refuses connections")
    assert refused.todo == "start the server, or mend the port"


def fill(sock: socket.socket, stack: ExitStack) -> tuple[str, int]:
    """Let `sock` listen with a full queue, so that the kernel drops who comes; return where."""
    sock.bind(("127.0.0.1", 0))
    sock.listen(0)
    address: tuple[str, int] = sock.getsockname()
    for _ in range(2):  # the kernel allows one more than asked for
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(address)
    return address


async def test_one_that_does_not_answer() -> None:
    with socket.socket() as full, ExitStack() as stack:
        address = "127.0.0.1:{1}".format(*fill(full, stack))
        (finding,) = await findings(address, listeners=[{"connect_timeout": 0.05}])
    assert finding.level is Level.PROBLEM
    assert finding.what.endswith(" does not answer within 50ms")
    assert "firewall" in finding.todo


async def test_of_several_listeners_the_least_patient_counts(server: Server) -> None:
    listeners = [
        {"name": "a", "bind": ":1", "connect_timeout": 40.0},
        {"name": "b", "bind": ":2", "connect_timeout": 20.0},
        {"name": "c", "bind": ":3", "connect_timeout": 0.001, "pool": "other"},
    ]
    ticks = count(0.0, 11.0)
    tables: dict[str, Any] = over(server()) | {"listeners": listeners}
    tables["pools"]["other"] = {"backends": [{"address": "a:1", "state": "disabled"}]}
    finding, _ = await check_backends(config(**tables), clock=lambda: next(ticks))
    assert finding.what.endswith("and connect_timeout is 20s")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "two..dots"])
async def test_a_name_that_cannot_be_resolved(host: str) -> None:
    (finding,) = await findings(f"{host}:80")
    assert finding.level is Level.PROBLEM
    assert finding.what.startswith(f"{host}:80 cannot be resolved: ")
    assert "resolver" in finding.todo


async def test_a_name_is_resolved(server: Server) -> None:
    port = server().rpartition(":")[2]
    (finding,) = await findings(f"localhost:{port}")
    assert finding.level is Level.OK


@pytest.mark.parametrize(("state", "level"), [("draining", Level.WARNING), ("disabled", Level.OK)])
async def test_one_that_gets_no_new_connections_is_no_problem(state: str, level: Level) -> None:
    backend = {"address": f"127.0.0.1:{free_port()}", "state": state}
    (finding,) = await findings(pools={"default": {"backends": [backend]}})
    assert finding.level is level


async def test_two_names_for_one_server_in_a_pool(server: Server) -> None:
    address = server()
    port = address.rpartition(":")[2]
    backends = [
        {"name": "a", "address": address},
        {"name": "b", "address": f"localhost:{port}"},
        {"name": "c", "address": server()},
    ]
    pools = {"web": {"backends": backends}, "other": {"backends": [{"address": address}]}}
    listeners = [{"pool": "web", "connect_timeout": 30.0}]
    *answers, double = await check_backends(config(listeners=listeners, pools=pools))
    assert [finding.level for finding in answers] == [Level.OK] * 4
    assert (double.check, double.level) == ("pool web", Level.WARNING)
    assert double.what == f"a, b are all {address}: it gets the share of each"


WITH_FEW_DESCRIPTORS = """
import asyncio, resource, sys
from tcplb.config.models import Config
from tcplb.control.doctor.backends import check_backends

resource.setrlimit(resource.RLIMIT_NOFILE, (120, 120))
backends = [{"name": f"b{number}", "address": sys.argv[1]} for number in range(150)]
tables = {"listeners": [{"connect_timeout": 0.05}], "pools": {"default": {"backends": backends}}}
findings = asyncio.run(check_backends(Config.model_validate(tables)))
print({finding.what for finding in findings if finding.check.startswith("backend ")})
"""


def test_not_all_are_asked_at_once() -> None:
    with socket.socket() as full, ExitStack() as stack:
        address = "127.0.0.1:{1}".format(*fill(full, stack))
        done = subprocess.run(
            [sys.executable, "-c", WITH_FEW_DESCRIPTORS, address],
            capture_output=True,
            text=True,
            timeout=WAIT,
            check=False,
        )
    assert (done.stderr, done.stdout.strip()) == (
        "",
        str({f"{address} does not answer within 50ms"}),
    )


async def test_hundreds_are_asked_and_told_in_order(server: Server) -> None:
    port = server().rpartition(":")[2]
    backends = [f"127.0.{number // 250}.{number % 250 + 1}:{port}" for number in range(300)]
    found = await findings(*backends)
    # Each but the first is an address on which nobody listens.
    assert [finding.check for finding in found] == [f"backend default/{one}" for one in backends]
    assert [finding.level for finding in found] == [Level.OK] + [Level.PROBLEM] * 299

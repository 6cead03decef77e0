from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import uvloop

from tcplb import __version__
from tcplb.config.models import Config, ListenerConfig
from tcplb.config.settings import Settings
from tcplb.control.configuration import Configuration, Source
from tcplb.control.logs import HeldOpen
from tcplb.control.supervisor import Supervisor
from tcplb.control.turns import Turns
from tcplb.errors import BindError
from tests.processes import WAIT, Running, echo_backends, port_of, tcplb

SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGTTIN,
    signal.SIGTTOU,
)
CONFIG = """
listeners = [
    {{ name = "front", bind = "127.0.0.1:0", pool = "web" }},
    {{ name = "side", bind = "127.0.0.1:0", pool = "database" }},
]
[pools.web]
strategy = "round-robin"
backends = [{{ name = "web-1", address = "127.0.0.1:{0}" }}]
[pools.database]
strategy = "hash"
backends = [
    {{ name = "db-1", address = "127.0.0.1:{1}", weight = 3 }},
    {{ name = "db-2", address = "127.0.0.1:{1}" }},
    {{ name = "db-3", address = "127.0.0.1:{1}", weight = 0 }},
]
"""


@pytest.fixture(scope="module")
def backends() -> Iterator[list[int]]:
    """The ports of two echo backends."""
    with echo_backends(ports=(0, 0)) as running:
        yield [port_of(backend) for backend in running]


@pytest.fixture
def config(tmp_path: Path, backends: list[int]) -> Path:
    file = tmp_path / "tcplb.toml"
    file.write_text(CONFIG.format(*backends))
    return file


@contextmanager
def serving(config: Path, *flags: str) -> Iterator[tuple[Running, int, int]]:
    """Serve the two listeners; yields the process and their ports."""
    with tcplb("serve", "--config", str(config), *flags) as lb:
        lb.wait_for("listening on", count=2)
        front, side = (
            int(lb.wait_for(rf"listening on 127\.0\.0\.1:(\d+): listener {name}, ")[0][1])
            for name in ("front", "side")
        )
        yield lb, front, side


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def visit(port: int) -> None:
    """Make one connection from beginning to end."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as client:
        client.sendall(b"\x01hello")
        assert client.recv(100) == b"\x01hello"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""


def stop(lb: Running) -> None:
    lb.signal(signal.SIGTERM)
    assert lb.wait() == 0
    assert "Traceback" not in lb.output


def test_each_listener_serves_its_own_pool(config: Path) -> None:
    with serving(config) as (lb, front, side):
        visit(front)
        visit(side)
        stop(lb)
        assert re.search(r" front web/web-1 ", lb.output)
        assert re.search(r" side database/db-[12] ", lb.output)
        lb.wait_for("stopped after 2 connections")


def test_it_says_at_the_start_what_it_serves(config: Path) -> None:
    with serving(config, "--max-connections", "7") as (lb, front, side):
        said = [line.partition(": ")[2] for line in lb.output.splitlines()]
        assert said[0] == f"tcplb {__version__}: at most 7 connections at once"
        assert said[2:] == [
            f"listening on 127.0.0.1:{front}: listener front, pool web (round-robin, backends: 1)",
            f"listening on 127.0.0.1:{side}: listener side, pool database (hash, backends: 3)",
        ]


def test_the_shares_of_a_ring_are_told_and_round_robin_has_none(config: Path) -> None:
    with serving(config) as (lb, _, _):
        (told,) = lb.wait_for(r"(info|warning) .*pool (\w+): shares of the keys: (.*)")
        assert (told[1], told[2]) == ("info", "database")
        shares = dict(share.split() for share in told[3].split(", "))
        assert 65 < float(shares["db-1"].removesuffix("%")) < 85  # three quarters
        assert set(shares) == {"db-1", "db-2"}  # db-3 has no weight
        assert "pool web: shares" not in lb.output


def test_a_ring_that_nobody_has_weight_in_is_told(tmp_path: Path) -> None:
    file = tmp_path / "tcplb.toml"
    file.write_text(
        'listeners = [{ bind = "127.0.0.1:0" }]\n[pools.web]\nstrategy = "hash"\n'
        'backends = [{ address = "127.0.0.1:1", weight = 0 }]\n'
    )
    with tcplb("serve", "--config", str(file)) as lb:
        lb.wait_for("listening on")
        assert "pool web: shares of the keys: no backend has weight" in lb.output
        stop(lb)


def test_a_number_of_connections_that_does_not_fit_is_warned_of(config: Path) -> None:
    with tcplb(
        "serve",
        "--config",
        str(config),
        "--max-connections",
        "1000",
        wrapper=("prlimit", "--nofile=64:64"),
    ) as lb:
        lb.wait_for("warning tcplb.limits: max_connections = 1000 needs 2032 file descriptors")
        lb.wait_for("at most 16 connections at once")


def test_every_line_is_json_if_wanted(config: Path) -> None:
    with serving(config, "--log-format", "json") as (lb, front, _):
        visit(front)
        stop(lb)
    lines = [json.loads(line) for line in lb.lines]
    messages = [line["message"] for line in lines if "message" in line]
    records = [line for line in lines if "message" not in line]
    assert (
        messages[-1] == "stopped after 1 connections; 0 were turned away, accepting paused 0 times"
    )
    assert {line["level"] for line in lines if "level" in line} == {"info"}
    assert [(line["listener"], line["backend"]) for line in records] == [("front", "web-1")]


def test_a_rotated_access_log_is_reopened_and_loses_no_line(config: Path, tmp_path: Path) -> None:
    file, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    with serving(config, "--access-log", str(file)) as (lb, front, _):
        for _ in range(20):
            visit(front)
        with socket.create_connection(("127.0.0.1", front), timeout=WAIT) as across:
            across.sendall(b"\x01hello")
            assert across.recv(100) == b"\x01hello"
            file.rename(rotated)
            lb.signal(signal.SIGUSR1)
            for _ in range(20):
                visit(front)
        stop(lb)
    before, after = rotated.read_text().splitlines(), file.read_text().splitlines()
    assert after
    assert len(before) + len(after) == 41
    assert all(" front web/web-1 " in line for line in before + after)
    assert len({line.split()[0] for line in before + after}) == 41


def test_sigusr1_without_a_file_is_harmless(config: Path) -> None:
    with serving(config, "--access-log", "none") as (lb, front, _):
        lb.signal(signal.SIGUSR1)
        visit(front)
        stop(lb)


def test_a_supervisor_that_cannot_listen_leaves_no_socket_and_no_signal_handler() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        socket.create_server(("127.0.0.1", 0)) as free,
        closing(Turns.create()) as turns,
        HeldOpen("none") as access_log,
    ):
        first, second = (sock.getsockname()[1] for sock in (free, taken))
        free.close()
        config = Config(
            listeners=(
                ListenerConfig(name="first", bind=f"127.0.0.1:{first}"),
                ListenerConfig(name="second", bind=f"127.0.0.1:{second}"),
            )
        )
        settings = Settings(config, {})
        configuration = Configuration(Source(None, lambda _: settings), settings)

        async def run() -> None:
            loop = asyncio.get_running_loop()
            open_before = open_descriptors()
            with pytest.raises(BindError, match=rf"cannot listen on 127\.0\.0\.1:{second}: "):
                await Supervisor(configuration, access_log, turns).run()
            assert open_descriptors() <= open_before
            assert [loop.remove_signal_handler(number) for number in SIGNALS] == [False] * len(
                SIGNALS
            )
            socket.create_server(("127.0.0.1", first)).close()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
    assert [signal.getsignal(number) for number in SIGNALS] == before

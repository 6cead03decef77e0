"""Protocols that are not HTTP, by their own clients and servers. One that is missing is skipped."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.processes import WAIT, Running, balancer, echo_backends, free_port, port_of

pytestmark = pytest.mark.e2e

STRATEGIES = ["round-robin", "hash"]


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def run(*command: str, stdin: str = "") -> str:
    """Run a client to its end; return what it printed."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=WAIT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs("nc")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nc_sends_ends_and_gets_its_echo(strategy: str) -> None:
    with (
        echo_backends() as backends,
        balancer("--strategy", strategy, backends=[port_of(backends[0])]) as (_, port),
    ):
        text = "no request line\n" * 1000
        assert run("nc", "-N", "127.0.0.1", str(port), stdin=text) == text


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_server_may_speak_first(strategy: str) -> None:
    with (
        echo_backends("--greeting", r"220 hello\r\n") as backends,
        balancer("--strategy", strategy, backends=[port_of(backends[0])]) as (_, port),
        socket.create_connection(("127.0.0.1", port), timeout=WAIT) as client,
    ):
        assert client.recv(100) == b"220 hello\r\n"
        client.sendall(b"EHLO me\r\n")
        assert client.recv(100) == b"EHLO me\r\n"


@needs("redis-server", "redis-cli")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_redis(strategy: str) -> None:
    backend = free_port()
    server = ["redis-server", "--port", str(backend), "--save", "", "--bind", "127.0.0.1"]
    with Running(server) as redis:
        redis.wait_for("Ready to accept connections")
        with balancer("--strategy", strategy, backends=[backend]) as (_, port):
            cli = ("redis-cli", "-h", "127.0.0.1", "-p", str(port))
            assert run(*cli, "PING") == "PONG\n"
            assert run(*cli, "SET", "key", "value") == "OK\n"
            assert run(*cli, stdin="GET key\nDEL key\nGET key\n").split() == ["value", "1"]


def _postgres_folder() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@needs("psql")
@pytest.mark.skipif(_postgres_folder() is None, reason="not installed: postgresql")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_postgresql(strategy: str) -> None:
    with postgres() as backend, balancer("--strategy", strategy, backends=[backend]) as (_, port):
        url = f"postgresql://tester@127.0.0.1:{port}/postgres?sslmode=prefer"
        query = "select count(*), max(n) from generate_series(1, 100000) as n"
        assert run("psql", "--no-psqlrc", "-At", url, "-c", query) == "100000|100000\n"


@contextmanager
def postgres() -> Iterator[int]:
    """Run a PostgreSQL server with a new, empty cluster; yields its port."""
    programs = _postgres_folder()
    port = free_port()
    with TemporaryDirectory(prefix="tcplb-pg-") as folder:
        data = Path(folder) / "data"
        as_owner = _as_owner(Path(folder))
        subprocess.run(
            [*as_owner, f"{programs}/initdb", "-D", str(data), "-U", "tester", "-A", "trust"],
            check=True,
            capture_output=True,
            timeout=WAIT,
            cwd=folder,
        )
        server = [*as_owner, f"{programs}/postgres", "-D", str(data), "-p", str(port)]
        with Running([*server, "-c", f"unix_socket_directories={folder}"]) as running:
            running.wait_for("ready to accept connections")
            yield port


def _as_owner(folder: Path) -> Sequence[str]:
    """PostgreSQL refuses to run as root: give the folder to its own user."""
    if os.geteuid() != 0:
        return ()
    user = pwd.getpwnam("postgres")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")

"""Connections as they end, for whoever watches; and a settings file that is watched."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.admin import Admin, Balancer, balancer_with_admin, ports_of, write_config
from tests.e2e.test_across_workers import Counting, counting_backends
from tests.processes import WAIT, Running, echoed, eventually, free_port, visit

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def backends() -> Iterator[list[Counting]]:
    with counting_backends(2) as made:
        yield made


# -- the tap ----------------------------------------------------------------------------------


@contextmanager
def tapped(folder: Path, backends: list[Counting], *flags: str) -> Iterator[Balancer]:
    """Run a balancer with two workers and two listeners, web and side."""
    file = write_config(
        folder / "tcplb.toml",
        {"a": backends[0].port, "b": backends[1].port},
        top="workers = 2",
        more='[[listeners]]\nname = "side"\nbind = "127.0.0.1:0"\npool = "dead"\n'
        f'[pools.dead]\n[[pools.dead.backends]]\nname = "d"\naddress = "127.0.0.1:{free_port()}"\n',
    )
    with balancer_with_admin("--config", str(file), *flags) as it:
        yield it


def visit_from(host: str, port: int) -> str:
    """Make a connection, and return the client's address."""
    with socket.create_connection(
        ("127.0.0.1", port), timeout=WAIT, source_address=(host, 0)
    ) as client:
        name = f"{host}:{client.getsockname()[1]}"
        echoed(client)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""
    return name


def visit_in_vain(port: int) -> None:
    # The reset may be there before the connect has returned.
    with (
        pytest.raises(ConnectionResetError),
        socket.create_connection(("127.0.0.1", port), timeout=WAIT) as client,
    ):
        client.recv(100)


def clients_of(stream: Iterator[Any], number: int) -> list[str]:
    return [next(stream)["record"]["client"] for _ in range(number)]


def until_heard(admin: Admin, port: int, stream: Iterator[Any]) -> None:
    """Wait until all workers tell of what ends: they hear of a watcher a moment later."""
    heard: set[int] = set()
    while heard != {1, 2}:
        visit_from("127.0.0.1", port)
        heard.add(next(stream)["worker"])


def test_connections_are_told_as_the_access_log_has_them(
    tmp_path: Path, backends: list[Counting]
) -> None:
    log = tmp_path / "access.log"
    flags = ("--access-log", str(log), "--log-format", "json")
    with tapped(tmp_path, backends, *flags) as it:
        port = ports_of(it.lb)[0]
        with it.admin.stream("connections", "stream") as stream:
            for _ in range(20):
                visit_from("127.0.0.1", port)
            told = [next(stream) for _ in range(20)]
        assert {each["worker"] for each in told} == {1, 2}
        for _ in range(5):
            visit_from("127.0.0.1", port)
        it.lb.signal(signal.SIGTERM)
        assert it.lb.wait() == 0
        logged = [json.loads(line) for line in log.read_text().splitlines()]
        assert len(logged) == 25
        records = [each["record"] for each in told]
        assert all(record in logged for record in records)
        assert len({record["client"] for record in records}) == 20


def test_watchers_are_told_what_they_want_to_see(tmp_path: Path, backends: list[Counting]) -> None:
    with tapped(tmp_path, backends) as it, ExitStack() as stack:
        web, side = ports_of(it.lb)

        def watch(**query: str) -> Iterator[Any]:
            return stack.enter_context(it.admin.stream("connections", "stream", **query))

        by_client = watch(client="127.0.0.2")
        by_network = watch(client="127.0.1.0/24", listener="web")
        by_backend = watch(backend="a")
        by_end = watch(termination="S?")
        by_pool = watch(pool="dead")
        everything = watch()
        ones = [visit_from("127.0.0.1", web) for _ in range(4)]
        two = visit_from("127.0.0.2", web)
        three = visit_from("127.0.1.7", web)
        visit_in_vain(side)
        assert clients_of(by_client, 1) == [two]
        assert clients_of(by_network, 1) == [three]
        assert next(by_backend)["record"]["backend"] == "a"
        ended = next(by_end)["record"]
        assert (ended["listener"], ended["termination"]) == ("side", "SC")
        assert next(by_pool)["record"] == ended
        seen = [next(everything)["record"] for _ in range(7)]
        assert sorted(each["client"] for each in seen) == sorted(
            [*ones, two, three, ended["client"]]
        )
        for wrong in ("client=x", "termination=S", "termination=SCC"):
            assert it.admin.ask("GET", f"/api/v1/connections/stream?{wrong}").status == 400


def test_workers_that_come_later_tell_as_well_and_without_a_log_too(
    tmp_path: Path, backends: list[Counting]
) -> None:
    with (
        tapped(tmp_path, backends, "--access-log", "none") as it,
        it.admin.stream("connections", "stream") as stream,
    ):
        port = ports_of(it.lb)[0]
        for worker in it.lb.children():
            os.kill(worker, signal.SIGKILL)
        it.lb.wait_for("killed by SIGKILL", count=2)
        eventually(
            lambda: [each["state"] for each in it.admin.get("status")["workers"]] == ["ready"] * 2
        )
        until_heard(it.admin, port, stream)
        it.admin.do("POST", "reload", dry_run=False)
        until_heard(it.admin, port, stream)


def test_a_watcher_that_does_not_read_costs_the_others_nothing(
    tmp_path: Path, backends: list[Counting]
) -> None:
    with tapped(tmp_path, backends, "--access-log", "none") as it, ExitStack() as stack:
        port = ports_of(it.lb)[0]
        deaf = stack.enter_context(it.admin.connect())
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        host = it.admin.address
        deaf.sendall(f"GET /api/v1/connections/stream HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        with it.admin.stream("connections", "stream", client="127.0.0.2") as stream:
            for _ in range(1500):
                visit(port)
            last = visit_from("127.0.0.2", port)
            assert clients_of(stream, 1) == [last]
        assert it.admin.get("status")["ready"]


# -- the settings file is watched -------------------------------------------------------------


def number_of(lb: Running, words: str) -> int:
    return lb.output.count(words)


def test_a_watched_file_is_reloaded_when_it_changes(
    tmp_path: Path, backends: list[Counting]
) -> None:
    names = {"a": backends[0].port}
    more = {"a": backends[0].port, "b": backends[1].port}
    file = write_config(tmp_path / "tcplb.toml", names, top="watch = true")
    with balancer_with_admin("--config", str(file)) as it:

        def served() -> list[str]:
            return [each["name"] for each in it.admin.get("backends")["backends"]]

        # As editors do it: another file takes its place.
        write_config(tmp_path / "new", more, top="watch = true").rename(file)
        eventually(lambda: served() == ["a", "b"])
        # As a shell does it: the same file gets another content.
        with file.open("r+") as text:
            text.truncate()
            text.write(write_config(tmp_path / "new", names, top="watch = true").read_text())
        eventually(lambda: served() == ["a"])
        # A reload counts when it is over, which is a moment after it shows.
        eventually(lambda: it.admin.get("status")["reloads"]["succeeded"] == 2)
        # One that is gone is no change, nor is its return as it was.
        reloads = it.admin.get("status")["reloads"]
        away = tmp_path / "away"
        file.rename(away)
        with it.admin.stream("stats", "stream") as seconds:
            for _ in range(3):
                next(seconds)
            away.rename(file)
            for _ in range(4):
                next(seconds)
        assert it.admin.get("status")["reloads"] == reloads
        # A bad one is told of, once, whoever was first, and then waited for to be mended.
        file.write_text(file.read_text() + "nonsense\n")
        it.lb.signal(signal.SIGHUP)
        it.lb.wait_for("reload failed, nothing has changed")
        with it.admin.stream("stats", "stream") as seconds:
            for _ in range(4):
                next(seconds)
        assert number_of(it.lb, "reload failed") == 1
        assert it.admin.get("status")["reloads"]["failed"] == 1
        visit(it.port)
        write_config(file, more, top="watch = true")
        eventually(lambda: served() == ["a", "b"])
        # It stops when the file says so.
        write_config(file, names)
        eventually(lambda: served() == ["a"])
        write_config(file, more)
        with it.admin.stream("stats", "stream") as seconds:
            for _ in range(4):
                next(seconds)
        assert served() == ["a"]


def test_what_is_saved_is_not_news(tmp_path: Path, backends: list[Counting]) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backends[0].port}, top="watch = true")
    with balancer_with_admin("--config", str(file)) as it:
        it.admin.do("PUT", "backends", "web", "a", "weight", weight=5)
        it.admin.do("POST", "config", "save")
        it.lb.wait_for("reloaded: no change")
        assert it.admin.backend("a")["weight"] == 5
        assert it.admin.get("status")["reloads"]["failed"] == 0

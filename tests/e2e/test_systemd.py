"""systemd's protocols, with the sockets that it would use: notify, watchdog, socket activation."""

from __future__ import annotations

import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.admin import admin_of, environment, ports_of, write_config
from tests.e2e.test_across_workers import Counting, counting_backends
from tests.e2e.upgrading import end, upgrade
from tests.processes import WAIT, Running, echoed, tcplb, visit

pytestmark = pytest.mark.e2e

ACTIVATE = """
import os, signal, socket, sys
kinds, names, pid, *command = sys.argv[1:]
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
for number, kind in enumerate(kinds.split(","), 3):
    sock = socket.socket(type=socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    if kind == "listening":
        sock.listen(100)
    print("given", sock.getsockname()[1], flush=True)
    made = sock.detach()
    if made != number:
        os.dup2(made, number)
        os.close(made)
    os.set_inheritable(number, True)
signal.sigwait([signal.SIGUSR1])
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
os.environ["LISTEN_PID"] = str(os.getpid()) if pid == "right" else pid
os.environ["LISTEN_FDS"] = str(len(kinds.split(",")))
if names:
    os.environ["LISTEN_FDNAMES"] = names
os.execv(command[0], command)
"""
"""What a service manager does between fork and exec, which waits for SIGUSR1."""


class Manager:
    """The socket of a service manager."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(WAIT)
        self.environment = {"NOTIFY_SOCKET": str(path)}

    def close(self) -> None:
        self._socket.close()

    def next(self) -> dict[str, str]:
        """Return the next message."""
        message = self._socket.recv(4096).decode()
        return dict(line.split("=", 1) for line in message.splitlines())

    def has_message(self) -> bool:
        """Whether there is one that was not read."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def wait_for(self, name: str) -> dict[str, str]:
        """Return the next message that says something of `name`."""
        while name not in (message := self.next()):
            pass
        return message


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


@pytest.fixture(scope="module")
def backend() -> Iterator[Counting]:
    with counting_backends(1) as (made,):
        yield made


@contextmanager
def activated(
    file: Path,
    *kinds: str,
    names: str = "",
    pid: str = "right",
    more: Mapping[str, str] | None = None,
) -> Iterator[tuple[Running, list[int]]]:
    """Prepare a balancer that is given sockets of these kinds; yields it and their ports.

    It begins when it gets SIGUSR1.
    """
    command = (sys.executable, "-m", "tcplb", "serve", "--config", str(file))
    given = (",".join(kinds), names, pid)
    with Running([sys.executable, "-c", ACTIVATE, *given, *command], more) as lb:
        ports = [int(match[1]) for match in lb.wait_for(r"^given (\d+)", count=len(kinds))]
        yield lb, ports
        if lb.process.poll() is None:
            lb.signal(signal.SIGTERM)
        assert lb.wait() == 0
        assert "Traceback" not in lb.output


# -- notify -----------------------------------------------------------------------------------


def test_it_is_ready_reloads_and_stops_in_so_many_words(
    tmp_path: Path, backend: Counting, manager: Manager
) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port}, top="workers = 2")
    with tcplb("serve", "--config", str(file), environment=manager.environment) as lb:
        assert manager.next()["READY"] == "1"
        # All workers serve by then.
        assert len(lb.children()) == 2
        visit(ports_of(lb)[0])
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        lb.signal(signal.SIGHUP)
        reloading = manager.next()
        assert reloading["RELOADING"] == "1"
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert before <= int(reloading["MONOTONIC_USEC"]) <= now
        assert manager.next()["READY"] == "1"
        file.write_text("nonsense")
        lb.signal(signal.SIGHUP)
        assert manager.next()["RELOADING"] == "1"
        assert manager.next()["READY"] == "1"
        lb.signal(signal.SIGTERM)
        assert manager.next() == {"STOPPING": "1"}
        assert lb.wait() == 0


def test_one_that_cannot_serve_is_never_ready(
    tmp_path: Path, backend: Counting, manager: Manager
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = write_config(tmp_path / "t.toml", {"a": backend.port}, listen=f"127.0.0.1:{port}")
        with tcplb("serve", "--config", str(file), environment=manager.environment) as lb:
            assert lb.wait() == 4
    assert not manager.has_message()


def test_the_watchdog_is_fed_to_the_end(
    tmp_path: Path, backend: Counting, manager: Manager
) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
    variables = manager.environment | {"WATCHDOG_USEC": "200000"}
    with tcplb("serve", "--config", str(file), environment=variables) as lb:
        port = ports_of(lb)[0]
        for _ in range(3):
            assert manager.wait_for("WATCHDOG") == {"WATCHDOG": "1"}
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as client:
            echoed(client)
            lb.signal(signal.SIGTERM)
            manager.wait_for("STOPPING")
            # It drains, and that takes as long as it takes.
            for _ in range(3):
                manager.wait_for("WATCHDOG")
        assert lb.wait() == 0


def test_a_watchdog_of_another_process_is_not_fed(
    tmp_path: Path, backend: Counting, manager: Manager
) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
    variables = manager.environment | {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    with tcplb("serve", "--config", str(file), environment=variables) as lb:
        assert manager.next()["READY"] == "1"
        visit(ports_of(lb)[0])
        lb.signal(signal.SIGTERM)
        assert manager.next() == {"STOPPING": "1"}
        assert lb.wait() == 0


def test_an_upgrade_tells_of_the_new_main_process(
    tmp_path: Path, backend: Counting, manager: Manager
) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
    variables = manager.environment | {"WATCHDOG_USEC": "500000"}
    with tcplb("serve", "--config", str(file), environment=variables) as lb:
        try:
            assert manager.wait_for("READY")["READY"] == "1"
            with socket.create_connection(("127.0.0.1", ports_of(lb)[0]), timeout=WAIT) as client:
                echoed(client)
                lb.signal(signal.SIGUSR2)
                # Read all the while: what is not read in time is not waited for.
                main = manager.wait_for("MAINPID")
                assert manager.wait_for("READY")["READY"] == "1"
                new = int(lb.wait_for(r"upgrade: pid (\d+) has taken over")[0][1])
                assert main == {"MAINPID": str(new)}
                # That the old one goes, in its own time, is no end of the service.
                lb.wait_for("the 1 open ones")
                # It is not our grandchild: a manager can wait only for a child of its own.
                status = Path(f"/proc/{new}/status").read_text()
                assert f"PPid:\t{lb.process.pid}\n" not in status
            assert lb.process.wait(WAIT) == 0
            messages = [manager.next() for _ in range(3)]
            assert messages == [{"WATCHDOG": "1"}] * 3
            end(lb, new)
            manager.wait_for("STOPPING")
        finally:
            lb.mark.kill()


def test_an_upgrade_that_fails_is_no_news_to_the_manager(
    tmp_path: Path, backend: Counting, manager: Manager
) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
    with tcplb("serve", "--config", str(file), environment=manager.environment) as lb:
        assert manager.next()["READY"] == "1"
        good = file.read_text()
        file.write_text("nonsense")
        lb.signal(signal.SIGUSR2)
        lb.wait_for("upgrade failed")
        file.write_text(good)
        lb.signal(signal.SIGTERM)
        assert manager.next() == {"STOPPING": "1"}
        assert lb.wait() == 0


def test_a_manager_that_is_gone_is_not_missed(tmp_path: Path, backend: Counting) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
    for address in (f"{tmp_path}/nobody", "@nobody-at-all", "nonsense", "/" + "x" * 300):
        with tcplb(*("serve", "--config", str(file)), environment={"NOTIFY_SOCKET": address}) as lb:
            visit(ports_of(lb)[0])
            lb.signal(signal.SIGTERM)
            assert lb.wait() == 0
            assert "Traceback" not in lb.output


# -- sockets that it is given -----------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_a_socket_that_is_given_is_served_with_all_who_wait_there(
    tmp_path: Path, backend: Counting, workers: int
) -> None:
    file = tmp_path / "tcplb.toml"
    with activated(file, "listening") as (lb, (port,)), ExitStack() as stack:
        top = f"workers = {workers}"
        write_config(file, {"a": backend.port}, top=top, listen=f"127.0.0.1:{port}")
        waiting = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=WAIT))
            for _ in range(50)
        ]
        lb.signal(signal.SIGUSR1)
        for client in waiting:
            echoed(client)
            client.close()
        assert ports_of(lb) == [port]
        for _ in range(10):
            visit(port)
        assert "not used" not in lb.output


def test_a_socket_may_be_meant_by_its_name(tmp_path: Path, backend: Counting) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
    with activated(file, "listening", "listening", names="unknown:web") as (lb, ports):
        lb.signal(signal.SIGUSR1)
        assert ports_of(lb) == [ports[1]]
        lb.wait_for(
            rf"warning .*: a socket that was handed to us is not used: descriptor 3 \(unknown\), "
            rf"bound to 127\.0\.0\.1:{ports[0]}"
        )
        visit(ports[1])
        with pytest.raises(ConnectionRefusedError):
            visit(ports[0])


def test_what_cannot_be_listened_on_is_told(tmp_path: Path, backend: Counting) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
    with activated(file, "datagram", "deaf") as (lb, ports):
        lb.signal(signal.SIGUSR1)
        lb.wait_for(r"not used: descriptor 3: not a stream socket")
        lb.wait_for(r"not used: descriptor 4: not a listening socket")
        assert ports_of(lb)[0] not in ports
        visit(ports_of(lb)[0])


def test_sockets_for_another_process_are_left_alone(tmp_path: Path, backend: Counting) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
    with activated(file, "listening", pid="1") as (lb, ports):
        lb.signal(signal.SIGUSR1)
        assert ports_of(lb) != ports
        visit(ports_of(lb)[0])


def test_sockets_that_were_given_go_on_to_the_next_process(
    tmp_path: Path, backend: Counting
) -> None:
    # The socket is meant by its name: it is not bound to this address.
    listen = "127.0.0.2:1"
    file = write_config(tmp_path / "t.toml", {"a": backend.port}, top="workers = 2", listen=listen)
    with activated(file, "listening", names="web", more=environment()) as (lb, (port,)):
        lb.signal(signal.SIGUSR1)
        admin_of(lb)
        try:
            new = upgrade(lb)
            assert lb.process.wait(WAIT) == 0
            visit(port)
            ports = lb.wait_for(r"listening on \S+:(\d+): listener", count=2)
            assert [int(match[1]) for match in ports] == [port, port]
            assert "not used" not in lb.output
            end(lb, new)
        finally:
            lb.mark.kill()

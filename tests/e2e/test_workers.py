"""Workers that are killed, added and removed, and a supervisor that is killed."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tcplb.config.models import BackendConfig, Config, ListenerConfig, PoolConfig
from tcplb.control.limits import worker_slots
from tcplb.control.plan import roomy_layout
from tcplb.control.scoreboard import Scoreboard
from tests.processes import (
    WAIT,
    Running,
    balancer,
    echo_backends,
    echoed,
    eventually,
    port_of,
    tcplb,
    visit,
    worker_of,
)

pytestmark = pytest.mark.e2e

LAYOUT = roomy_layout(
    Config(
        listeners=(ListenerConfig(name="web", bind=":80", pool="web"),),
        pools={"web": PoolConfig(backends=(BackendConfig(address="10.0.0.1:80"),))},
    )
)
"""That of a balancer with one listener and one backend, wherever they are."""


@pytest.fixture(scope="module")
def backend() -> Iterator[int]:
    """The port of an echo backend."""
    with echo_backends() as backends:
        yield port_of(backends[0])


def stop(lb: Running) -> None:
    lb.signal(signal.SIGTERM)
    assert lb.wait() == 0
    assert "Traceback" not in lb.output


def client_of(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def until_workers(lb: Running, number: int) -> None:
    """Wait until there are so many, and no zombies among them."""
    eventually(lambda: len(lb.children()) == number)


def until_more_output(lb: Running) -> None:
    before = lb.output
    eventually(lambda: lb.output != before)


class Load:
    """Threads that make one connection after another, and what went wrong."""

    def __init__(self, port: int, threads: int = 4) -> None:
        self.visits = 0
        self.errors: list[Exception] = []
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                visit(self._port)
                self.visits += 1
            except (OSError, AssertionError) as error:
                self.errors.append(error)

    def wait_for_more(self) -> None:
        """Wait until a good many more connections have been served."""
        enough = self.visits + 50
        eventually(lambda: self.visits > enough)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(WAIT)

    @classmethod
    @contextmanager
    def on(cls, port: int) -> Iterator[Load]:
        load = cls(port)
        for thread in load._threads:
            thread.start()
        try:
            load.wait_for_more()
            yield load
        finally:
            load.end()


# -- a worker is killed -----------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_clients_in_the_queue_of_a_worker_that_is_killed_are_served(
    backend: int, workers: int
) -> None:
    flags = ("--workers", str(workers), "--access-log", "none")
    with balancer(*flags, backends=[backend]) as (lb, port), ExitStack() as stack:
        victim = lb.children()[0]
        os.kill(victim, signal.SIGSTOP)
        clients = [stack.enter_context(client_of(port)) for _ in range(200)]
        os.kill(victim, signal.SIGKILL)
        for client in clients:
            echoed(client)
        lb.wait_for(rf"worker 1 \(pid {victim}\) ended: killed by SIGKILL; another one starts")
        until_workers(lb, workers)
        for client in clients:
            client.close()
        stop(lb)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_killed_under_load_costs_its_own_connections_and_nothing_else(
    backend: int, workers: int
) -> None:
    flags = ("--workers", str(workers), "--access-log", "none")
    with balancer(*flags, backends=[backend]) as (lb, port):
        with Load.on(port) as load:
            victim = lb.children()[-1]
            os.kill(victim, signal.SIGKILL)
            eventually(lambda: len(lb.children()) == workers and victim not in lb.children())
            lb.wait_for(rf"\(pid {victim}\) ended: .*SIGKILL; another one starts in 0\.25 s")
            if workers == 1:
                visit(port)  # so the replacement is ready
            load.wait_for_more()
        # One at most of each thread was open at that moment, and none was ever refused.
        assert len(load.errors) <= 4
        assert not any(isinstance(error, ConnectionRefusedError) for error in load.errors)
        stop(lb)


def test_a_worker_that_dies_again_and_again_is_started_ever_later(backend: int) -> None:
    with balancer(backends=[backend]) as (lb, port):
        worker = worker_of(lb)
        for delay in ("0.25", "0.5", "1"):
            os.kill(worker, signal.SIGKILL)
            lb.wait_for(
                rf"error .*: worker 1 \(pid {worker}\) ended: killed by SIGKILL; "
                rf"another one starts in {delay} s$"
            )
            until_workers(lb, 1)
            worker = worker_of(lb)
        visit(port)
        stop(lb)


def test_the_totals_of_a_worker_that_was_killed_are_in_the_sum(backend: int) -> None:
    with balancer("--workers", "2", "--access-log", "none", backends=[backend]) as (lb, port):
        for _ in range(30):
            visit(port)
        eventually(lambda: accepted(lb) == 30)
        os.kill(lb.children()[0], signal.SIGKILL)
        lb.wait_for("killed by SIGKILL")
        for _ in range(12):
            visit(port)
        stop(lb)
        lb.wait_for(r"stopped after 42 connections; 0 were turned away")


def accepted(lb: Running) -> int:
    """Return what the scoreboard says, as another process may read it."""
    for link in Path(f"/proc/{lb.process.pid}/fd").iterdir():
        if "tcplb scoreboard" in str(link.readlink()):
            descriptor = os.open(link, os.O_RDWR)
            try:
                return Scoreboard(descriptor, worker_slots(2), LAYOUT).totals().accepted
            finally:
                os.close(descriptor)
    raise AssertionError("there is no scoreboard")


# -- start-up ---------------------------------------------------------------------------------


def test_workers_that_cannot_start_are_told_and_end_it_with_1(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'tcplb.control.worker' in sys.orig_argv:\n    os._exit(7)\n"
    )
    arguments = ("serve", "--listen", "127.0.0.1:0", "--workers", "2")
    with tcplb(*arguments, environment={"PYTHONPATH": str(tmp_path)}) as lb:
        assert lb.wait() == 1
        assert lb.lines[-1].startswith("tcplb: no worker could be started: worker ")
        assert lb.lines[-1].endswith("ended: exit code 7")
        assert "listening on" not in lb.output
        assert "another one starts" not in lb.output


def test_one_that_cannot_start_at_first_is_tried_again(tmp_path: Path, backend: int) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, pathlib, sys\n"
        "mark = pathlib.Path(__file__).parent / 'tried'\n"
        "if ' tcplb.control.worker 1 ' in ' '.join(sys.orig_argv) and not mark.exists():\n"
        "    mark.touch()\n"
        "    os._exit(7)\n"
    )
    arguments = ("serve", "--listen", "127.0.0.1:0", "--backend", f"127.0.0.1:{backend}")
    environment = {"PYTHONPATH": str(tmp_path)}
    with tcplb(*arguments, "--workers", "2", environment=environment) as lb:
        port = int(lb.wait_for(r"listening on \S+:(\d+)")[0][1])
        for _ in range(10):  # its sockets are with the other one
            visit(port)
        lb.wait_for(r"error .*: worker 2 \(pid \d+\) ended: exit code 7$")
        until_workers(lb, 2)
        stop(lb)


def test_a_replacement_that_cannot_open_its_log_says_so_and_is_tried_again(
    tmp_path: Path, backend: int
) -> None:
    folder, moved = tmp_path / "logs", tmp_path / "moved"
    folder.mkdir()
    flags = ("--access-log", str(folder / "access.log"))
    with balancer(*flags, backends=[backend]) as (lb, port):
        folder.rename(moved)
        os.kill(worker_of(lb), signal.SIGKILL)
        lb.wait_for(
            rf"ended: cannot open the access log {folder}/access\.log: "
            r"No such file or directory; another one starts in 0\.5 s"
        )
        moved.rename(folder)
        visit(port)
        stop(lb)


def test_two_balancers_cannot_have_one_port(backend: int) -> None:
    with (
        balancer("--workers", "2", backends=[backend]) as (_, port),
        tcplb("serve", "--listen", f"127.0.0.1:{port}", "--workers", "2") as second,
    ):
        assert second.wait() == 4
        assert "the address is in use; is another tcplb running?" in second.output


def test_it_finds_its_modules_wherever_it_is_started(tmp_path: Path, backend: int) -> None:
    """A folder of the user's may have any names in it."""
    (tmp_path / "uvloop.py").write_text("raise SystemExit('not this one')")
    (tmp_path / "tcplb").mkdir()
    command = Path(sys.executable).parent / "tcplb"
    script = f"cd {tmp_path} && exec {command} serve --listen 127.0.0.1:0"
    with Running(["bash", "-c", f"{script} --backend 127.0.0.1:{backend}"]) as lb:
        visit(int(lb.wait_for(r"listening on \S+:(\d+)")[0][1]))
        stop(lb)


# -- TTIN and TTOU ----------------------------------------------------------------------------


def test_workers_come_and_go_under_load_and_nobody_notices(backend: int) -> None:
    with balancer("--workers", "2", "--access-log", "none", backends=[backend]) as (lb, port):
        with Load.on(port) as load:
            for _ in range(2):
                lb.signal(signal.SIGTTOU)
                until_workers(lb, 1)
                load.wait_for_more()
                for workers in (2, 3):
                    lb.signal(signal.SIGTTIN)
                    until_workers(lb, workers)
                    load.wait_for_more()
                lb.signal(signal.SIGTTOU)
                until_workers(lb, 2)
        assert load.errors == []
        lb.wait_for(r"worker 2 stops: there are to be 1", count=2)
        lb.wait_for(r"worker 3 starts: there are to be 3", count=2)
        stop(lb)
        lb.wait_for(rf"stopped after {load.visits} connections")


def test_the_last_worker_stays(backend: int) -> None:
    with balancer("--workers", "2", backends=[backend]) as (lb, port):
        lb.signal(signal.SIGTTOU)
        until_workers(lb, 1)
        worker = worker_of(lb)
        lb.signal(signal.SIGTTOU)
        lb.wait_for(r"warning .*: the last worker stays")
        visit(port)
        assert worker_of(lb) == worker
        stop(lb)


def test_there_is_a_most_of_workers(backend: int) -> None:
    with balancer("--workers", "1", backends=[backend]) as (lb, port):
        while "no more than" not in lb.output:
            lb.signal(signal.SIGTTIN)
            until_more_output(lb)
        most = int(lb.wait_for(r"warning .*: no more than (\d+) workers")[0][1])
        until_workers(lb, most)
        visit(port)
        stop(lb)


def test_a_worker_that_is_taken_away_lets_its_connections_end(backend: int) -> None:
    with balancer("--workers", "2", backends=[backend]) as (lb, port), ExitStack() as stack:
        clients = [stack.enter_context(client_of(port)) for _ in range(20)]
        for client in clients:
            echoed(client)
        lb.signal(signal.SIGTTOU)
        lb.wait_for("worker 2 stops")
        for _ in range(20):
            visit(port)
        for client in clients:
            echoed(client, b"still here")
            client.close()
        until_workers(lb, 1)
        stop(lb)


def test_connections_that_outlive_the_drain_of_a_worker_are_cut_and_told(backend: int) -> None:
    flags = ("--workers", "2", "--drain-timeout", "100ms")
    with balancer(*flags, backends=[backend]) as (lb, port), ExitStack() as stack:
        for _ in range(20):
            echoed(stack.enter_context(client_of(port)))
        lb.signal(signal.SIGTTOU)
        cut = int(lb.wait_for(r"worker 2 closed (\d+) connections that were still open")[0][1])
        assert 0 < cut < 20
        lb.signal(signal.SIGTERM)
        assert lb.wait() == 5
        lb.wait_for(rf"closed {20 - cut} connections that were still open after 0\.1 s")


# -- signals ----------------------------------------------------------------------------------


def test_a_ctrl_c_of_the_terminal_goes_to_all_and_drains(backend: int) -> None:
    with balancer("--workers", "2", backends=[backend]) as (lb, port):
        with client_of(port) as client:
            echoed(client)
            os.killpg(lb.process.pid, signal.SIGINT)
            lb.wait_for("stopping: no new connections; the 1 open ones")
            echoed(client, b"still here")
        assert lb.wait() == 0
        assert "killed by" not in lb.output
        assert "Traceback" not in lb.output


def test_a_ctrl_c_while_the_workers_start_ends_it_in_good_order(backend: int) -> None:
    arguments = ("serve", "--listen", "127.0.0.1:0", "--backend", f"127.0.0.1:{backend}")
    for workers in ("1", "2"):
        with tcplb(*arguments, "--workers", workers) as lb:
            until_workers(lb, int(workers))
            os.killpg(lb.process.pid, signal.SIGINT)
            assert lb.wait() == 0
            assert "killed by" not in lb.output
            assert "Traceback" not in lb.output


def test_a_worker_is_deaf_to_signals_from_its_first_moment_on(backend: int) -> None:
    arguments = ("serve", "--listen", "127.0.0.1:0", "--backend", f"127.0.0.1:{backend}")
    deaf_to = ("TERM", "INT", "HUP", "USR1", "USR2", "TTIN", "TTOU")
    with tcplb(*arguments) as lb:
        until_workers(lb, 1)
        worker = worker_of(lb)
        for name in deaf_to:
            os.kill(worker, signal.Signals[f"SIG{name}"])
        port = int(lb.wait_for(r"listening on \S+:(\d+)")[0][1])
        for name in deaf_to:
            os.kill(worker, signal.Signals[f"SIG{name}"])
        visit(port)
        assert lb.children() == [worker]
        stop(lb)


def test_logs_are_reopened_in_all_processes(tmp_path: Path, backend: int) -> None:
    file, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    flags = ("--workers", "2", "--access-log", str(file))
    with balancer(*flags, backends=[backend]) as (lb, port):
        pids = [lb.process.pid, *lb.children()]
        assert all(has_open(pid, file) for pid in pids)
        file.rename(rotated)
        lb.signal(signal.SIGUSR1)
        eventually(lambda: all(has_open(pid, file) for pid in pids))
        eventually(lambda: not any(has_open(pid, rotated) for pid in pids))
        for _ in range(20):
            visit(port)
        stop(lb)
    assert rotated.read_text() == ""
    assert len(file.read_text().splitlines()) == 20


def has_open(pid: int, file: Path) -> bool:
    return any(link.resolve() == file for link in Path(f"/proc/{pid}/fd").iterdir())


# -- the supervisor is killed -----------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_without_its_supervisor_a_worker_drains_and_ends(backend: int, workers: int) -> None:
    with balancer("--workers", str(workers), backends=[backend]) as (lb, port):
        left = lb.children()
        with client_of(port) as client:
            echoed(client)
            lb.signal(signal.SIGKILL)
            lb.wait_for(r"the supervisor is gone: no new connections", count=workers)
            with pytest.raises(ConnectionRefusedError):
                client_of(port)
            echoed(client, b"still here")
        assert lb.wait() == -signal.SIGKILL
        eventually(lambda: not any(is_alive(worker) for worker in left))


def test_without_its_supervisor_a_worker_keeps_to_the_drain_timeout(backend: int) -> None:
    with balancer("--drain-timeout", "100ms", backends=[backend]) as (lb, port):
        worker = worker_of(lb)
        with client_of(port) as client:
            echoed(client)
            lb.signal(signal.SIGKILL)
            with pytest.raises(ConnectionResetError):
                client.recv(100)
        eventually(lambda: not is_alive(worker))

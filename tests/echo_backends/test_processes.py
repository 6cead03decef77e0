"""The command as processes, with real signals. Nothing sleeps: a pipe says when something ended."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.e2e

DEADLINE = 20.0


class Backend(NamedTuple):
    line: str
    port: int
    pid: int


class Running:
    """The command, running."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def backend(self) -> Backend:
        """What the next line on stdout is about."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().rstrip("\n")
        match = re.fullmatch(r"backend (127\.0\.0\.1|\[::1\]):(\d+) pid (\d+)", line)
        assert match, line
        return Backend(line, int(match[2]), int(match[3]))

    def backends(self, count: int) -> list[Backend]:
        return [self.backend() for _ in range(count)]

    def complaint(self) -> str:
        """The next line on stderr."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def all_complaints(self) -> str:
        """What is left on stderr, after every process that could write there has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def exit_code(self) -> int:
        return self.process.wait(DEADLINE)


Launch = Callable[..., Running]


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Starts the command; what still runs after the test is ended."""
    processes: list[subprocess.Popen[str]] = []

    def start(
        *arguments: str, before: tuple[str, ...] = (), stdin: int = subprocess.DEVNULL
    ) -> Running:
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "echo_backends", *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return Running(process)

    yield start
    for process in processes:
        with process:
            process.kill()


def fetch(port: int, host: str = "127.0.0.1") -> str:
    with urllib.request.urlopen(f"http://{host}:{port}/", timeout=DEADLINE) as answer:
        text: str = answer.read().decode()
        return text


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), DEADLINE).close()
    except ConnectionRefusedError:
        return True
    return False


def test_one_port_is_served_by_the_process_itself(launch: Launch) -> None:
    running = launch("--ports", "0")
    backend = running.backend()
    assert backend.pid == running.pid
    assert fetch(backend.port) == f"Received request on server running on port {backend.port}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("ports", ["0", "0,0,0"])
def test_a_signal_ends_everything_in_silence(
    launch: Launch, number: signal.Signals, ports: str
) -> None:
    running = launch("--ports", ports)
    backends = running.backends(ports.count("0"))
    with socket.create_connection(("127.0.0.1", backends[0].port)):  # Nobody waits for a client.
        os.kill(running.pid, number)
        assert running.all_complaints() == ""
    assert running.exit_code() == 0
    assert all(refuses(backend.port) for backend in backends)


@pytest.mark.parametrize("started", [1, 3])
def test_ctrl_c_reaches_all_at_once_and_makes_no_noise(launch: Launch, started: int) -> None:
    running = launch("--ports", "0,0,0")
    running.backends(started)
    os.killpg(running.pid, signal.SIGINT)
    assert running.all_complaints() == ""
    assert running.exit_code() == 0


def test_each_port_is_a_process_of_its_own(launch: Launch) -> None:
    running = launch("--ports", "0,0,0")
    backends = running.backends(3)
    assert len({running.pid, *(backend.pid for backend in backends)}) == 4
    killed, *others = backends
    os.kill(killed.pid, signal.SIGKILL)
    assert running.complaint() == f"{killed.line} ended: killed by SIGKILL\n"
    assert refuses(killed.port)
    for other in others:
        assert fetch(other.port).endswith(f"port {other.port}\n")
    os.kill(running.pid, signal.SIGTERM)
    assert running.exit_code() == 0
    assert running.all_complaints() == ""


def test_the_parent_ends_with_its_last_child(launch: Launch) -> None:
    running = launch("--ports", "0,0")
    first, second = running.backends(2)
    os.kill(first.pid, signal.SIGTERM)
    assert running.complaint() == f"{first.line} ended: exit code 0\n"
    os.kill(second.pid, signal.SIGKILL)
    assert running.complaint() == f"{second.line} ended: killed by SIGKILL\n"
    assert running.exit_code() == 1


def test_children_end_with_their_parent_even_if_it_is_killed(launch: Launch) -> None:
    running = launch("--ports", "0,0")
    backends = running.backends(2)
    os.kill(running.pid, signal.SIGKILL)
    assert running.all_complaints() == ""  # Its end means that the children have ended.
    assert all(refuses(backend.port) for backend in backends)


def test_a_child_that_does_not_listen_to_sigterm_is_killed(launch: Launch) -> None:
    running = launch("--ports", "0,0")
    stopped, _ = running.backends(2)
    os.kill(stopped.pid, signal.SIGSTOP)
    os.kill(running.pid, signal.SIGTERM)
    assert running.exit_code() == 0
    assert running.all_complaints() == ""


@pytest.mark.parametrize("others", ["", "0,", "0,0,"])
def test_a_taken_port_stops_everything_with_one_line(launch: Launch, others: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = launch("--ports", f"{others}{port}")
        assert running.exit_code() == 4
        expected = f"echo-backends: cannot listen on 127.0.0.1:{port}: Address already in use\n"
        assert running.all_complaints() == expected


def test_a_host_that_is_nowhere_is_one_line(launch: Launch) -> None:
    running = launch("--ports", "0", "--host", "192.0.2.1")
    assert running.exit_code() == 4
    assert "cannot listen on 192.0.2.1:0: " in running.all_complaints()


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_ipv6_has_brackets(launch: Launch, host: str) -> None:
    backend = launch("--ports", "0", "--host", host).backend()
    assert backend.line.startswith("backend [::1]:")
    assert fetch(backend.port, "[::1]").endswith(f"port {backend.port}\n")


def test_children_have_the_same_faults(launch: Launch) -> None:
    text = r"220 caf\xe9 \\ -\r\n"
    running = launch("--ports", "0,0", "--greeting", text, "--close-after", "9", "--delay", "50ms")
    for backend in running.backends(2):
        with socket.create_connection(("127.0.0.1", backend.port)) as client:
            assert client.makefile("rb").read() == b"220 caf\xe9 "


def test_a_refusing_backend_stays(launch: Launch) -> None:
    running = launch("--ports", "0", "--refuse")
    backend = running.backend()
    assert refuses(backend.port)
    os.kill(running.pid, signal.SIGTERM)
    assert running.exit_code() == 0


def test_a_reader_of_its_output_may_leave(launch: Launch) -> None:
    # It ends because its "parent" has, but only after it has tried to say that it listens.
    running = launch("--ports", "0", "--parent-pipe", "0", stdin=subprocess.PIPE)
    process = running.process
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    process.stdin.close()
    assert running.exit_code() == 0
    assert running.all_complaints() == ""


def test_out_of_descriptors_it_waits_and_goes_on(launch: Launch) -> None:
    limited = ("sh", "-c", 'ulimit -n 30; exec "$@"', "sh")
    running = launch("--ports", "0", before=limited)
    backend = running.backend()
    clients = [socket.create_connection(("127.0.0.1", backend.port)) for _ in range(40)]
    assert running.complaint().endswith("cannot accept: Too many open files\n")
    for client in clients:
        client.close()
    assert fetch(backend.port)

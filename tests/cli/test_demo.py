"""`tcplb demo` has fixed ports, so these tests are skipped where one of them is taken."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import TimeoutExpired
from types import TracebackType
from uuid import uuid4

import pytest

from tests.processes import Running, curl

BACKENDS = (8081, 8082, 8083, 8084)
PORTS = (*BACKENDS, 9090)
URL = "http://localhost:9090"
TCPLB = (sys.executable, "-m", "tcplb")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc"),
]


@pytest.fixture(autouse=True)
def _free_ports() -> None:
    for port in PORTS:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError as error:
            pytest.skip(f"port {port} of the demo cannot be had: {error.strerror}")


class Demo(Running):
    """A demo, and every process that came of it, known by a mark in its environment."""

    def __init__(self, *command: str) -> None:
        self._mark = uuid4().hex
        super().__init__(command or (*TCPLB, "demo"), {"TEST_MARK": self._mark})

    def processes(self) -> dict[int, str]:
        """The command of each by its pid, itself included."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                if self._mark.encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        return found

    def __enter__(self) -> Demo:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.terminate()
        with suppress(TimeoutExpired):
            self.process.wait(10)
        for pid in self.processes():  # of a demo that failed at this; they hold its output
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        super().__exit__(kind, error, traceback)

    def pid_of(self, part: str) -> int:
        """The pid of the one process with `part` in its command."""
        (pid,) = (pid for pid, command in self.processes().items() if part in command)
        return pid

    def ended(self) -> int:
        """Wait for the end; return the exit code. Nothing may be left, and no traceback said."""
        code = self.wait()
        assert self.processes() == {}
        assert "Traceback" not in self.output
        return code


@contextmanager
def demo() -> Iterator[Demo]:
    """Run it until it is ready."""
    with Demo() as running:
        running.wait_for(r"\^C stops everything\.")
        yield running


def test_it_says_who_listens_and_what_to_try_and_that_works() -> None:
    with demo() as running:
        started = [
            (match[1], int(match[2]))
            for match in running.wait_for(r"^backend 127\.0\.0\.1:(\d+) pid (\d+)$", count=4)
        ]
        assert sorted(port for port, _ in started) == [str(port) for port in BACKENDS]
        assert {pid for _, pid in started} < set(running.processes())
        assert "listening on 127.0.0.1:9090: listener default, pool default (hash" in running.output
        assert f"curl {URL}/hello" in running.output
        direct = curl(f"{URL}/hello")
        assert direct.stdout.startswith("Received request on server running on port 808")
        assert curl("-x", URL, "http://any.name/hello").stdout == direct.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_of_it_with_0(number: signal.Signals) -> None:
    with demo() as running:
        assert len(running.processes()) == 8  # it, balancer, worker, backends and their parent
        running.signal(number)
        assert running.ended() == 0


def test_it_can_be_interrupted_while_it_starts() -> None:
    with Demo() as running:
        running.wait_for(r"^backend ")
        os.killpg(running.process.pid, signal.SIGINT)  # ^C, as a terminal sends it
        assert running.ended() == 0


def test_it_goes_on_when_a_backend_is_killed_until_it_is_interrupted() -> None:
    with demo() as running:
        os.kill(running.pid_of("--ports 8082 "), signal.SIGKILL)
        running.wait_for(r"^backend 127\.0\.0\.1:8082 pid \d+ ended: killed by SIGKILL")
        answers = {curl(f"{URL}/{number}").stdout.strip()[-4:] for number in range(12)}
        assert answers <= {"8081", "8083", "8084"}
        os.killpg(running.process.pid, signal.SIGINT)  # ^C, as a terminal sends it
        assert running.ended() == 0


def test_it_ends_with_1_when_the_balancer_is_killed() -> None:
    with demo() as running:
        os.kill(running.pid_of(" serve "), signal.SIGKILL)
        assert running.ended() == 1


@pytest.mark.parametrize(
    ("port", "line"),
    [
        (8083, r"^echo-backends: cannot listen on 127\.0\.0\.1:8083: Address already in use$"),
        (9090, r"^tcplb: cannot listen on 127\.0\.0\.1:9090: the address is in use"),
    ],
)
def test_a_taken_port_is_named_and_ends_it_with_4(port: int, line: str) -> None:
    with socket.create_server(("127.0.0.1", port)), Demo() as running:
        assert running.ended() == 4
        running.wait_for(line)
        assert "Try, in another terminal" not in running.output


def test_it_ends_when_nobody_reads_it_any_more() -> None:
    with Demo("bash", "-c", f"{' '.join(TCPLB)} demo | head -1") as running:
        assert running.ended() == 0
        assert len(running.lines) == 1

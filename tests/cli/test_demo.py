"""`tcplb demo` without a terminal. The live view is in `test_demo_live.py`."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import TimeoutExpired
from types import TracebackType

import pytest
from click.testing import CliRunner

from tcplb.cli.main import main
from tests.processes import Running, curl, echo_backends, eventually, visit

TCPLB = (sys.executable, "-m", "tcplb")
ANY_PORTS = ("--port", "0", "--backend-ports", "0,0,0,0")
WISHED = (8081, 8082, 8083, 8084, 9090)
"""The ports of a demo that is not told otherwise."""

pytestmark = [
    pytest.mark.e2e,
    # It finds what a demo has left running by their environment, which only Linux shows.
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc"),
]


class Demo(Running):
    """A demo, and every process that came of it."""

    def __init__(self, *flags: str, command: tuple[str, ...] | None = None) -> None:
        super().__init__(command or (*TCPLB, "demo", *flags))

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
        self.mark.kill()  # of a demo that failed at this; they hold its output
        super().__exit__(kind, error, traceback)

    @property
    def port(self) -> int:
        return int(self.wait_for(r"The balancer listens on http://localhost:(\d+)\. ")[0][1])

    @property
    def backends(self) -> dict[int, int]:
        """The pids of the backends by their ports."""
        lines = self.wait_for(r"^backend 127\.0\.0\.1:(\d+) pid (\d+)$", count=4)
        return {int(line[1]): int(line[2]) for line in lines[:4]}

    def answers(self, count: int) -> set[int]:
        """Return the ports of the backends that answer so many paths."""
        said = [curl(f"http://localhost:{self.port}/{number}").stdout for number in range(count)]
        return {int(line.strip().rpartition(" ")[2]) for line in said}

    def interrupt(self) -> None:
        """Do what ^C does on a terminal."""
        os.killpg(self.process.pid, signal.SIGINT)

    def ended(self) -> int:
        """Wait for the end; return the exit code. Nothing may be left, and no traceback said."""
        code = self.wait()
        assert self.mark.processes() == {}
        assert "Traceback" not in self.output
        return code


@contextmanager
def demo(*flags: str) -> Iterator[Demo]:
    """Run it on free ports (or those that `flags` say) until it is ready."""
    with Demo(*ANY_PORTS, *flags) as running:
        running.wait_for(r"\^C stops everything\.")
        yield running


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.mark.xdist_group("the usual ports")
def test_it_says_who_listens_and_what_to_try_and_that_works() -> None:
    taken = [port for port in WISHED if not _is_free(port)]
    if taken:
        pytest.skip(f"the demo's ports are in use: {taken}")
    with Demo() as running:
        assert running.port == 9090
        assert sorted(running.backends) == [8081, 8082, 8083, 8084]
        assert set(running.backends.values()) < set(running.mark.processes())
        assert "listening on 127.0.0.1:9090: listener default, pool default (hash" in running.output
        url = "http://localhost:9090"
        assert f"curl {url}/hello" in running.output
        direct = curl(f"{url}/hello")
        assert direct.stdout.startswith("Received request on server running on port 808")
        assert curl("-x", url, "http://any.name/hello").stdout == direct.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_of_it_with_0(number: signal.Signals) -> None:
    with demo("--no-load") as running:
        assert len(running.mark.processes()) == 7  # it, balancer, worker and backends
        running.signal(number)
        assert running.ended() == 0
        running.wait_for(r"^in all: 0 connections, ")


@pytest.mark.parametrize("after", [r"^backend ", r"^listening on ", r"\^C stops everything"])
def test_it_can_be_interrupted_while_it_starts(after: str) -> None:
    with Demo(*ANY_PORTS) as running:
        running.wait_for(after)
        running.interrupt()
        assert running.ended() == 0


def test_it_goes_on_when_a_backend_is_killed_until_it_is_interrupted() -> None:
    with demo("--no-load") as running:
        port, pid = next(iter(running.backends.items()))
        os.kill(pid, signal.SIGKILL)
        running.wait_for(rf"^backend 127\.0\.0\.1:{port} pid {pid} ended: killed by SIGKILL")
        assert running.answers(12) <= set(running.backends) - {port}
        running.interrupt()
        assert running.ended() == 0


def test_the_load_finds_out_that_a_backend_is_gone_and_that_it_is_back() -> None:
    with demo() as running:
        port, pid = next(iter(running.backends.items()))
        os.kill(pid, signal.SIGKILL)
        name = rf"backend 127\.0\.0\.1:{port}"
        running.wait_for(rf"^{name} ejected for .*: 3 connects in a row failed")
        with echo_backends(ports=(port,)):
            running.wait_for(rf"^{name} is back: a connect succeeded")
        running.signal(signal.SIGTERM)
        assert running.ended() == 0
        # Each took the first dead dial of a connection, and sent it on: no client saw anything.
        (line,) = running.wait_for(
            r"^in all: (\d+) connections, (\d+) of them sent on to another backend, 0 turned away; "
            r"light load: (\d+) answered, 0 errors$"
        )
        assert int(line[2]) >= 3
        assert int(line[1]) >= int(line[3]) > 0


def test_it_says_now_and_then_how_it_is_going() -> None:
    with demo("--strategy", "round-robin") as running:
        (line,) = running.wait_for(r"^round-robin: (.*); \d+ connections, 0 of them sent on")
        shares = dict(re.findall(r"127\.0\.0\.1:(\d+) (\d+)% ", line[1]))
        assert set(map(int, shares)) == set(running.backends)
        assert {int(share) for share in shares.values()} <= {24, 25, 26}
        assert not any('"time"' in said or "[" in said for said in running.lines)  # no access log
        running.signal(signal.SIGTERM)
        assert running.ended() == 0


def test_without_the_load_only_others_connect() -> None:
    with demo("--no-load") as running:
        visit(running.port)
        running.signal(signal.SIGTERM)
        assert running.ended() == 0
        running.wait_for(r"^in all: 1 connections, .*light load: 0 answered, 0 errors$")


def test_it_ends_with_1_when_the_balancer_is_killed() -> None:
    with demo() as running:
        os.kill(running.mark.pid_of(" serve "), signal.SIGKILL)
        assert running.ended() == 1
        running.wait_for(r"^tcplb: the balancer ended by itself: killed by SIGKILL$")


def test_a_taken_port_of_a_backend_is_named_and_replaced() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with Demo("--port", "0", "--backend-ports", f"0,{taken},0,0") as running:
            pattern = rf"^port {taken} is in use, 127\.0\.0\.1:(\d+) is used instead$"
            instead = int(running.wait_for(pattern)[0][1])
            assert instead in running.backends
            assert running.answers(40) == set(running.backends)
            running.wait_for(rf"echo-backends --ports {instead} ")
            running.signal(signal.SIGTERM)
            assert running.ended() == 0


def test_a_taken_port_of_the_balancer_is_named_and_replaced() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with Demo("--port", str(taken), "--backend-ports", "0,0,0,0") as running:
            pattern = rf"^port {taken} is in use, 127\.0\.0\.1:(\d+) is used instead$"
            assert int(running.wait_for(pattern)[0][1]) == running.port != taken
            running.wait_for(rf"^  curl http://localhost:{running.port}/hello ")
            assert running.answers(40) == set(running.backends)
            running.signal(signal.SIGTERM)
            assert running.ended() == 0


def test_it_ends_when_nobody_reads_it_any_more() -> None:
    command = f"{' '.join(TCPLB)} demo {' '.join(ANY_PORTS)} | head -1"
    with Demo(command=("bash", "-c", command)) as running:
        assert running.ended() == 0
        assert len(running.lines) == 1


def test_it_ends_when_its_output_cannot_be_written() -> None:
    command = f"exec {' '.join(TCPLB)} demo {' '.join(ANY_PORTS)} > /dev/full"
    with Demo(command=("bash", "-c", command)) as running:
        assert running.ended() == 1
        assert running.lines == ["tcplb: No space left on device"]


def test_it_can_be_ended_while_nobody_reads_it() -> None:
    # The pipe is full from the beginning, and its reader never reads.
    command = (
        "import os, subprocess, sys\n"
        "read_end, write_end = os.pipe()\n"
        "os.set_blocking(write_end, False)\n"
        "while True:\n"
        "    try: os.write(write_end, bytes(4096))\n"
        "    except BlockingIOError: break\n"
        "os.set_blocking(write_end, True)\n"
        "demo = subprocess.Popen(sys.argv[1:], stdout=write_end)\n"
        "sys.exit(demo.wait())\n"
    )
    arguments = (sys.executable, "-c", command, *TCPLB, "demo", *ANY_PORTS)
    with Demo(command=arguments) as running:
        worker = "tcplb.control.worker"
        eventually(lambda: any(worker in said for said in running.mark.processes().values()))
        demos = [pid for pid, said in running.mark.processes().items() if " demo " in said]
        os.kill(max(demos), signal.SIGTERM)
        assert running.ended() == 0


@pytest.mark.parametrize("ports", ["x", "8081-", "8084-8081", "70000", "1,1", "1-10", "-1", ""])
def test_ports_that_make_no_sense_are_a_usage_error(ports: str) -> None:
    result = CliRunner().invoke(main, ["demo", "--backend-ports", ports])
    assert result.exit_code == 2
    assert "Invalid value for '--backend-ports'" in result.output

"""Runs the real commands as processes, and waits for what they print."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tests.mark import Mark

WAIT = 30.0
"""Seconds after which something that should have happened did not."""


class Running:
    """A command that runs. Its output (stdout and stderr together) is collected line by line."""

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("TCPLB_")}
        # Many run at once, and only one of them could have the usual admin port.
        inherited["TCPLB_ADMIN_BIND"] = "none"
        self.mark = Mark()
        self.process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=inherited | self.mark.environment | dict(environment or {}),
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self._stdout = self.process.stdout
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(WAIT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(WAIT)
        self._stdout.close()

    @property
    def output(self) -> str:
        """All that was printed so far."""
        with self._changed:
            return "\n".join(self.lines)

    def wait_for(self, pattern: str, *, count: int = 1) -> list[re.Match[str]]:
        """Wait until `count` lines match `pattern`; return the matches."""
        with self._changed:
            found: list[re.Match[str]] = []

            def enough() -> bool:
                found[:] = [m for line in self.lines if (m := re.search(pattern, line))]
                return len(found) >= count or self._ended

            in_time = self._changed.wait_for(enough, WAIT)
            shown = "\n".join(self.lines)
        assert in_time, f"no {count} lines with {pattern!r} in time, but:\n{shown}"
        assert len(found) >= count, f"ended without {count} lines with {pattern!r}:\n{shown}"
        return found

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        self.process.send_signal(number)

    def children(self) -> list[int]:
        """Return the pids of the processes that it has started and that have not been reaped."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]

    def wait(self) -> int:
        """Wait until it ends by itself; return the exit code."""
        code = int(self.process.wait(WAIT))
        self._reader.join(WAIT)
        return code

    def _read(self) -> None:
        for line in self._stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@contextmanager
def echo_backends(*flags: str, ports: Sequence[int] = (0,)) -> Iterator[list[Running]]:
    """Start one `echo_backends` command for each port, so that each can be killed by itself."""
    running: list[Running] = []
    try:
        for port in ports:
            command = [sys.executable, "-m", "echo_backends", "--ports", str(port), *flags]
            running.append(Running(command))
        for backend in running:
            backend.wait_for(r"^backend \S+ pid \d+")
        yield running
    finally:
        for backend in running:
            backend.__exit__(None, None, None)


def port_of(backend: Running) -> int:
    """Return the port of a started echo backend."""
    return int(backend.wait_for(r"^backend \S+:(\d+) pid")[0][1])


def tcplb(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    wrapper: Sequence[str] = (),
) -> Running:
    """Start a `tcplb` command, under `wrapper` (such as prlimit) if given."""
    return Running([*wrapper, sys.executable, "-m", "tcplb", *arguments], environment)


@contextmanager
def balancer(
    *flags: str, backends: Sequence[int] = (), wrapper: Sequence[str] = ()
) -> Iterator[tuple[Running, int]]:
    """Run `tcplb serve` over `backends` on a free port; yields it and the port."""
    chosen = [flag for backend in backends for flag in ("--backend", f"127.0.0.1:{backend}")]
    with tcplb("serve", "--listen", "127.0.0.1:0", *chosen, *flags, wrapper=wrapper) as running:
        port = int(running.wait_for(r"listening on \S+:(\d+)")[0][1])
        yield running, port


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something that tells nobody."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


def echoed(client: socket.socket, data: bytes = b"\x01hello") -> None:
    """Send something that is no HTTP, and get it back through the balancer."""
    client.sendall(data)
    answer = b""
    while len(answer) < len(data):
        more = client.recv(len(data) - len(answer))
        assert more, f"the connection ended after {answer!r}"
        answer += more
    assert answer == data


def visit(port: int) -> None:
    """Make one connection from beginning to end."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as client:
        echoed(client)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""


def worker_of(balancer: Running) -> int:
    """Return the pid of the one worker of a balancer that is ready."""
    (worker,) = balancer.children()
    return worker


def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run curl to its end."""
    return subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "20", *arguments],
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def free_port() -> int:
    """Return a port that nobody listens on at the moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])

"""A balancer that is upgraded: the signal, the new process, and what is left of any."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.admin import (
    Balancer,
    balancer_with_admin,
    write_config,
)
from tests.e2e.test_across_workers import Counting
from tests.e2e.test_workers import is_alive
from tests.processes import WAIT, Running, eventually


def one_backend(folder: Path, backend: Counting, *, drain_timeout: str = "") -> Path:
    """Write settings with one backend; return their file."""
    more = f'[limits]\ndrain_timeout = "{drain_timeout}"\n' if drain_timeout else ""
    return write_config(folder / "tcplb.toml", {"a": backend.port}, more=more)


@contextmanager
def upgradable(file: Path, *flags: str, bind: str = "127.0.0.1:0") -> Iterator[Balancer]:
    """Run a balancer, and kill what is left of it and of its successors."""
    with balancer_with_admin("--config", str(file), *flags, bind=bind) as it:
        try:
            yield it
        finally:
            it.lb.mark.kill()


def client_of(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT)


def upgrade(lb: Running, pid: int | None = None, *, count: int = 1) -> int:
    """Upgrade the process `pid`, the first one if not given; return the pid of the new one."""
    os.kill(lb.process.pid if pid is None else pid, signal.SIGUSR2)
    return int(lb.wait_for(r"upgrade: pid (\d+) has taken over", count=count)[count - 1][1])


def begun(lb: Running) -> int:
    """Have it begin an upgrade; return the pid of the new process, which is not ready yet."""
    known = _successors(lb)
    lb.signal(signal.SIGUSR2)
    eventually(lambda: len(_successors(lb) - known) == 1)
    (new,) = _successors(lb) - known
    return new


def _successors(lb: Running) -> set[int]:
    """The processes that were started by an upgrade; those that start them are not among them."""
    return {
        pid
        for pid, command in lb.mark.processes().items()
        if " serve " in command and " -S " not in command and _has_predecessor(pid)
    }


def _has_predecessor(pid: int) -> bool:
    try:
        return any(each.startswith("TCPLB_PREDECESSOR=") for each in environment_of(pid))
    except OSError:
        return False  # it has ended


def until_gone(*pids: int) -> None:
    eventually(lambda: not any(is_alive(pid) for pid in pids))


def end(lb: Running, pid: int) -> None:
    """End the new process, and see that nothing is left of any."""
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not any(is_alive(pid) for pid in lb.mark.processes()))


def assert_whole_lines(lb: Running) -> None:
    for line in lb.output.splitlines():
        assert line.startswith(("2", "127.0.0.1:")), line
        assert line.count(" -- ") <= 1, line


def environment_of(pid: int) -> list[str]:
    return [each for each in Path(f"/proc/{pid}/environ").read_text().split("\0") if each]

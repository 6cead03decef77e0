"""Starting processes, and ending every one of them whatever happens."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

PATIENCE = 10.0
"""Seconds that a process gets to start, and to end."""


class SkippedError(Exception):
    """Something cannot be measured here, and this says why. The rest goes on."""


def free_port() -> int:
    """Return a port on 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def raise_descriptor_limit() -> int:
    """Raise the limit of open files as far as allowed, for what is started too. Returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for what is started: nobody's settings of tcplb, and `extra`."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TCPLB_")}
    return ours | dict(extra or {})


@contextlib.contextmanager
def started(
    command: Sequence[str],
    *,
    stdout: IO[bytes] | int = subprocess.DEVNULL,
    stderr: IO[bytes] | int = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in a session of its own, with a pipe for its input, and end it after the block.

    ^C goes to the benchmark alone, which then ends what it started. Raises OSError.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env=clean_environment(environment),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process of `started` and whatever it has left behind."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # It led a session, so its id is also that of the group that its children are in.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()


def last_line(path: Path) -> str:
    """Return the last line with something in it, or ""."""
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""

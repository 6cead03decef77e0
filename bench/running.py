"""Candidates, backends and load as running processes."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import cores
from bench.candidates import Candidate, Place
from bench.cores import Policy
from bench.load.client import LoadError, ask
from bench.load.job import Job
from bench.processes import PATIENCE, SkippedError, free_port, last_line, started

BACKENDS = 4


@dataclass(frozen=True)
class Balancer:
    """A candidate that runs and has answered a request."""

    candidate: Candidate
    port: int
    pid: int


@contextlib.contextmanager
def backends(policy: Policy) -> Iterator[list[int]]:
    """Run the backends; yields their ports."""
    command = [sys.executable, "-m", "bench.backend", str(BACKENDS), str(int(policy))]
    with (
        cores.started_on(cores.LOAD),
        started(command, stdout=subprocess.PIPE, stderr=sys.stderr.fileno()) as process,
    ):
        yield [int(port) for port in _read_line(process, PATIENCE).split()]


@contextlib.contextmanager
def balancer(
    candidate: Candidate,
    backend_ports: list[int],
    directory: Path,
    *,
    max_connections: int,
    on: frozenset[int],
) -> Iterator[Balancer]:
    """Run a candidate on the cores `on`. Raises SkippedError if it does not start."""
    directory.mkdir(parents=True)
    place = Place(free_port(), backend_ports, directory, max_connections)
    launch = candidate.prepare(place)
    with contextlib.ExitStack() as stack:
        # An access log that goes to the standard output goes to a file.
        out = stack.enter_context((directory / "stdout").open("wb"))
        err = stack.enter_context((directory / "stderr").open("wb"))
        with cores.started_on(on):
            process = stack.enter_context(
                started(launch.command, stdout=out, stderr=err, environment=launch.environment)
            )
        _wait_for_answer(process, place, directory / "stderr")
        yield Balancer(candidate, place.port, process.pid)


def _wait_for_answer(process: subprocess.Popen[bytes], place: Place, stderr: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        if process.poll() is not None:
            reason = last_line(stderr) or f"exit code {process.returncode}"
            raise SkippedError(f"does not start: {reason}")
        try:
            return ask(place.port, PATIENCE)
        except (OSError, LoadError) as error:
            if time.monotonic() > deadline:
                raise SkippedError(f"does not answer: {error}") from error
        time.sleep(0.01)


class Load:
    """A load process at work."""

    def __init__(self, process: subprocess.Popen[bytes], job: Job) -> None:
        self._process = process
        self._allowed = 3 * PATIENCE + job.lead_in + job.seconds

    def wait_begun(self) -> None:
        """Wait until the lead-in is over. Raises LoadError."""
        _read_line(self._process, self._allowed)

    def stop(self) -> None:
        """Let it end now, with the figures it has. Only after `wait_begun`."""
        self._process.send_signal(signal.SIGINT)

    def result(self) -> dict[str, float]:
        """Wait for the end; return the figures of `bench.load`. Raises LoadError."""
        try:
            out, err = self._process.communicate(timeout=self._allowed)
        except subprocess.TimeoutExpired as error:
            raise LoadError(f"no end after {self._allowed:g} s") from error
        if self._process.returncode != 0:
            lines = err.decode(errors="replace").strip().splitlines()
            raise LoadError(lines[-1] if lines else f"exit code {self._process.returncode}")
        figures: dict[str, float] = json.loads(out.splitlines()[-1])
        return figures


@contextlib.contextmanager
def load(job: Job) -> Iterator[Load]:
    """Start a load process."""
    command = [sys.executable, "-m", "bench.load", job.to_json()]
    with (
        cores.started_on(cores.LOAD),
        started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
    ):
        yield Load(process, job)


def do(job: Job) -> dict[str, float]:
    """Do a job to its end; return its figures. Raises LoadError."""
    with load(job) as running:
        return running.result()


def _read_line(process: subprocess.Popen[bytes], timeout: float) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], timeout)
    line = process.stdout.readline() if ready else b""
    if not line:
        raise LoadError(f"{process.args!r} printed nothing")
    return line.decode()

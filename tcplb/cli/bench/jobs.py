"""From flags to jobs: defaults by mode, and what does not go together."""

from __future__ import annotations

import resource
from dataclasses import dataclass

import click

from tcplb.loadgen.job import Job, Mode, Target

ECHO_PATH = "/echo"
"""Where echo backends send a body back; taken when a mode with bodies is aimed at ``/``."""

_KiB = 1024
_CONNECTIONS = {Mode.BULK: 4, Mode.IDLE: 1000}
_PAYLOADS = {Mode.BULK: _KiB * _KiB}
_WITH_BODIES = (Mode.ECHO, Mode.BULK, Mode.CHURN)
_IDLE_OPENED_PER_SECOND = 2000
_DESCRIPTORS_ASIDE = 32


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags that make a job; None is one that was not given."""

    mode: Mode | None = None
    connections: int | None = None
    rate: float | None = None
    burst: int | None = None
    ramp: float | None = None
    duration: float | None = None
    count: int | None = None
    warmup: float | None = None
    payload: int | None = None
    paths: int = 1
    sources: int = 1
    timeout: float = 5.0
    processes: int = 1
    backend_header: str = "X-Backend"
    seed: int = 0

    def job(self, target: Target, *, duration: float = 10.0, warmup: float = 0.0) -> Job:
        """Return the job for a target; raises UsageError if the flags contradict each other."""
        mode = self.mode or (Mode.REQUEST if target.http else Mode.ECHO)
        if target.path == "/" and mode in _WITH_BODIES:
            target = _with_path(target, ECHO_PATH)
        connections = self.connections or _CONNECTIONS.get(mode, 64)
        seconds = self._duration(duration)
        job = Job(
            target=target,
            mode=mode,
            connections=connections,
            rate=self.rate,
            burst=self.burst or 1,
            ramp=self._ramp(mode, connections, seconds),
            duration=seconds,
            count=self.count,
            warmup=warmup if self.warmup is None else self.warmup,
            payload=_PAYLOADS.get(mode, 64) if self.payload is None else self.payload,
            paths=self.paths,
            sources=self.sources,
            timeout=self.timeout,
            backend_header=self.backend_header,
            seed=self.seed,
        )
        self._check(job)
        return job

    def _ramp(self, mode: Mode, connections: int, seconds: float) -> float:
        if self.ramp is not None:
            return self.ramp
        if mode is not Mode.IDLE:
            return 0.0
        # Thousands at once would overflow the target's backlog, which is not what idle is about.
        return min(connections / _IDLE_OPENED_PER_SECOND, seconds / 2)

    def _duration(self, usual: float) -> float:
        if self.duration is not None:
            return self.duration
        return COUNT_BOUND if self.count is not None else usual

    def _check(self, job: Job) -> None:
        for wrong, message in (*_contradictions(job), *self._contradictions(job)):
            if wrong:
                raise click.UsageError(message)

    def _contradictions(self, job: Job) -> list[tuple[bool, str]]:
        _, descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = self.processes * (descriptors - _DESCRIPTORS_ASIDE)
        return [
            (self.burst is not None and self.rate is None, "--burst is of the open loop: --rate"),
            (
                job.connections > most,
                f"--connections {job.connections} needs more file descriptors than the "
                f"{descriptors} of a process; use more --processes, or raise the limit (ulimit -n)",
            ),
        ]


COUNT_BOUND = 600.0
"""Seconds after which a run of `--count` is over all the same, without a `--duration`."""


def _contradictions(job: Job) -> list[tuple[bool, str]]:
    """Return what may be wrong with a job, and in which words."""
    kept_paths = job.mode.keeps_connections and job.paths > job.connections
    here = job.target.address.startswith("127.")
    return [
        (
            job.mode is Mode.REQUEST and not job.target.http,
            f"--mode request speaks HTTP: write the target as http://{job.target.text}/",
        ),
        (job.paths > 1 and not job.target.http, "--paths is for http:// targets"),
        (
            kept_paths,
            f"--mode {job.mode} keeps its connections, each with one path: {job.paths} paths need "
            f"as many --connections, or --mode connect",
        ),
        (
            job.sources > 1 and not here,
            "--source-addresses are of 127.0.0.0/8: only for targets on it",
        ),
        (
            job.mode is Mode.IDLE and (job.rate is not None or job.count is not None),
            "--mode idle holds connections: it has no --rate and no --count",
        ),
        (
            job.ramp > job.warmup + job.duration,
            "--ramp is longer than the run",
        ),
        (
            job.mode in (Mode.ECHO, Mode.CHURN, Mode.IDLE) and job.payload == 0,
            f"--mode {job.mode} needs a --payload of at least one byte",
        ),
        (
            job.mode is Mode.BULK and not job.target.http and job.payload == 0,
            "--payload 0 is for --mode bulk of an http:// target, which it makes a download",
        ),
    ]


def _with_path(target: Target, path: str) -> Target:
    return Target(target.text, target.address, target.port, path, target.host)

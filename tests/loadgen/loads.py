"""Runs of the load generator for tests: real processes, short jobs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns
from typing import Any, Protocol

from tcplb.loadgen.clients import life_of
from tcplb.loadgen.histogram import Histogram
from tcplb.loadgen.job import Job, Mode, Target
from tcplb.loadgen.loop import Loop
from tcplb.loadgen.result import RunResult
from tcplb.loadgen.run import OnTick, Run
from tcplb.loadgen.tally import Tally

TIME = 60.0
"""Seconds after which a test's run is stuck."""


class Listening(Protocol):
    """What has an address."""

    host: str
    port: int


def tcp(server: Listening) -> Target:
    """A target for raw TCP."""
    return Target("test", server.host, server.port)


def http(server: Listening, path: str = "/") -> Target:
    """A target for HTTP."""
    return Target("test", server.host, server.port, path, f"{server.host}:{server.port}")


def job(target: Target, mode: Mode, **changes: Any) -> Job:
    """A job of 4 connections that a count ends, or a short duration if that is given."""
    settings: dict[str, Any] = {"connections": 4, "duration": TIME}
    return Job(target, mode, **settings | changes)


async def load(wanted: Job, *, processes: int = 1, on_tick: OnTick | None = None) -> RunResult:
    """Do it."""
    async with asyncio.timeout(TIME):
        return await Run(wanted, processes=processes, on_tick=on_tick).run()


async def load_here(wanted: Job) -> Tally:
    """Do it in a thread of this process, which begins sooner than a process; return the total."""
    total = Tally()

    def add(at: float, tally: Tally) -> None:
        if at > 0:
            total.merge(tally)

    loop = Loop(wanted, add)
    try:
        async with asyncio.timeout(TIME):
            await asyncio.to_thread(loop.run, life_of(loop), monotonic_ns())
    finally:
        loop.stop()
        loop.epoll.close()
    return total


def at_least(histogram: Histogram, seconds: float) -> int:
    """Count the times that were at least so long."""
    return sum(cell.count for cell in histogram if cell.middle >= seconds * 1e9)


def percentile(histogram: Histogram, percent: float) -> float:
    """Return a percentile in seconds."""
    value = histogram.percentile(percent)
    assert value is not None, "nothing was measured"
    return value / 1e9


def children() -> set[int]:
    """Return the pids of this process's children that have not been reaped."""
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


def load_processes() -> set[int]:
    """Return the pids of the children that are processes of a load."""
    return set(_of_load(children()))


def _of_load(pids: set[int]) -> Iterator[int]:
    for pid in pids:
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue  # it has ended
        if b"tcplb.loadgen.process" in arguments:
            yield pid


def has_ipv6() -> bool:
    """Whether ::1 can be listened on."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True

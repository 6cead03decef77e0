"""A run: starts its processes, merges what they measure, and ends them."""

from __future__ import annotations

from collections.abc import Callable

from tcplb.loadgen.job import Job
from tcplb.loadgen.result import RunResult
from tcplb.loadgen.tally import Tally

OnTick = Callable[[float, Tally], None]
"""Called with the seconds since counting began and what was measured since the last call."""


class Run:
    """One run of the load generator."""

    def __init__(self, job: Job, *, processes: int = 1, on_tick: OnTick | None = None) -> None:
        """Prepare a run of `job` in so many processes."""
        self._job = job
        self._processes = processes
        self._on_tick = on_tick

    async def run(self) -> RunResult:
        """Do it; return what was measured. Raises ProcessError."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it early: `run` then returns what was measured so far."""
        raise NotImplementedError

"""The runs of one `tcplb bench`: one, several in turns, or against a test bed of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from tcplb.cli.bench.progress import Progress
from tcplb.loadgen.job import Job, Target
from tcplb.loadgen.result import ChaosEvent, RunResult
from tcplb.loadgen.run import Run
from tcplb.testbed.backends import Backends
from tcplb.testbed.balancer import Balancer
from tcplb.testbed.chaos import ChaosRun, Step, schedule


@dataclass(frozen=True, slots=True)
class Bed:
    """The echo backends and the balancer that a bench starts itself."""

    backends: int = 4
    strategy: str = "round-robin"
    workers: int = 1

    @property
    def flags(self) -> Sequence[str]:
        """More flags of the balancer."""
        return ("--workers", str(self.workers), "--log-level", "info")


class Runs:
    """Does runs one after the other, until there are no more or somebody interrupts them."""

    def __init__(self, *, processes: int, progress: Progress) -> None:
        self.interrupted = False
        self._processes = processes
        self._progress = progress
        self._run: Run | None = None

    def __enter__(self) -> Self:
        """Let ^C and SIGTERM end the run that is on, so that what it has measured is not lost."""
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self.interrupt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the signals alone again."""
        self._leave_signals()

    def interrupt(self) -> None:
        """End the run that is on and begin no other. A second signal then ends everything."""
        self.interrupted = True
        self._leave_signals()
        if self._run is not None:
            self._run.stop()

    async def one(self, job: Job, name: str = "", chaos: ChaosRun | None = None) -> RunResult:
        """Do one run, with `chaos` meanwhile if given. Raises ProcessError and BedError."""
        self._run = run = Run(job, processes=self._processes, on_tick=self._progress.tick)
        if self.interrupted:
            run.stop()
        with self._progress.of(job, name):
            result = await (run.run() if chaos is None else _run_with(chaos, run))
        return replace(result, name=name)

    async def in_turns(self, jobs: Sequence[tuple[str, Job]], rounds: int) -> list[list[RunResult]]:
        """Do each job once a round, beginning with another one each time.

        Returns the rounds that were completed, in the order of `jobs`.
        """
        done: list[list[RunResult]] = []
        for number in range(rounds):
            first = number % len(jobs)
            results = {}
            for name, job in [*jobs[first:], *jobs[:first]]:
                results[name] = await self.one(job, f"{name} {number + 1}/{rounds}")
                if self.interrupted:
                    return done
            done.append([replace(results[name], name=name) for name, _ in jobs])
        return done

    async def on_bed(
        self, jobs: Sequence[tuple[str, Job]], bed: Bed, say: Callable[[str], None]
    ) -> list[RunResult]:
        """Do each job against a balancer of our own. Raises BedError."""
        results = []
        async with _backends(bed) as backends, _balancer(backends, bed) as balancer:
            say(_introduction(backends, balancer))
            for name, job in jobs:
                result = await self.one(_aimed(job, balancer), name)
                results.append(replace(result, backends=backends.names))
                if self.interrupted:
                    break
        return results

    async def with_chaos(self, job: Job, bed: Bed, say: Callable[[str], None]) -> RunResult:
        """Do a run while backends are killed and restarted. Raises BedError."""
        async with _backends(bed) as backends:
            steps = schedule(backends.names, job.duration, seed=job.seed)
            chaos = ChaosRun(backends, steps, on_step=lambda event: say(_event(event)))
            balancer = Balancer(
                backends.names,
                strategy=bed.strategy,
                flags=bed.flags,
                on_event=chaos.event,
                on_session=chaos.session,
            )
            async with balancer:
                say(_introduction(backends, balancer))
                say(_schedule(steps))
                result = await self.one(_aimed(job, balancer), "chaos", chaos)
        errors = {second.number: second.errors for second in result.timeline}
        began = (self._run and self._run.began) or 0.0
        return replace(result, backends=backends.names, chaos=chaos.result(began, errors))

    def _leave_signals(self) -> None:
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def _run_with(chaos: ChaosRun, run: Run) -> RunResult:
    """Run, and meanwhile kill and restart backends."""

    async def disturb() -> None:
        await run.begun.wait()
        await chaos.run(run.began or 0.0)

    disturbing = asyncio.create_task(disturb(), name="chaos")
    try:
        result = await run.run()
        if disturbing.done():
            await disturbing  # whether it could restart them
        return result
    finally:
        disturbing.cancel()
        await asyncio.wait([disturbing])


def _backends(bed: Bed) -> Backends:
    return Backends(ports=(0,) * bed.backends)


def _balancer(backends: Backends, bed: Bed) -> Balancer:
    return Balancer(backends.names, strategy=bed.strategy, flags=bed.flags, sessions=False)


def _aimed(job: Job, balancer: Balancer) -> Job:
    """Return the job, aimed at a balancer."""
    scheme, path = ("http://", job.target.path) if job.target.http else ("", None)
    target = Target(
        text=f"{scheme}{balancer.address}{path or ''}",
        address="127.0.0.1",
        port=balancer.port,
        path=path,
        host=balancer.address,
    )
    return replace(job, target=target)


def _introduction(backends: Backends, balancer: Balancer) -> str:
    return (
        f"{len(backends.names)} echo backends ({', '.join(backends.names)}) "
        f"behind tcplb on {balancer.address}, strategy {balancer.strategy}"
    )


def _schedule(steps: Sequence[Step]) -> str:
    if not steps:
        return "nothing is killed: that needs two backends"
    planned = ", ".join(f"{step.at:.1f} s {step.action} {step.backend}" for step in steps)
    return f"schedule: {planned}"


def _event(event: ChaosEvent) -> str:
    return f"{event.at:6.1f} s  {event.text}"

"""A progress bar with the live rate, on a terminal; nothing anywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from tcplb.loadgen.job import Job
from tcplb.loadgen.tally import Tally

RATE_TIME = 1.0
"""Seconds that the live rate is the mean of."""


class Progress:
    """Shows how far a run is, on standard error."""

    def __init__(self, *, wanted: bool) -> None:
        """Prepare it; nothing is shown unless it is `wanted` and standard error is a terminal."""
        self._console = Console(stderr=True, highlight=False)
        self._shown = wanted and self._console.is_terminal
        self._bar: Bar | None = None
        self._task = TaskID(0)
        self._job: Job | None = None
        self._recent: list[tuple[float, int]] = []
        self._requests = self._errors = 0

    @contextmanager
    def of(self, job: Job, name: str) -> Iterator[None]:
        """Show the progress of a run during the block."""
        if not self._shown:
            yield
            return
        self._job, self._recent, self._requests, self._errors = job, [], 0, 0
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[news]}"),
        )
        with Bar(*columns, console=self._console, transient=True) as self._bar:
            title = name or f"{job.mode} {job.target.text}"
            self._task = self._bar.add_task(title, total=job.warmup + job.duration, news="")
            yield
        self._bar = None

    def tick(self, at: float, tally: Tally) -> None:
        """Take what one process has measured; for `Run(on_tick=...)`."""
        if self._bar is None or self._job is None:
            return
        self._requests += tally.requests
        self._errors += tally.errors
        self._recent.append((at, tally.requests))
        while self._recent[0][0] <= at - RATE_TIME:
            self._recent.pop(0)
        span = min(RATE_TIME, max(at + self._job.warmup, 0.25))
        rate = sum(count for _, count in self._recent) / span
        news = f"{rate:,.0f}/s, {self._errors:,} errors"
        if at <= 0:
            news = f"warming up, {news}"
        self._bar.update(self._task, completed=self._done(at), news=news)

    def _done(self, at: float) -> float:
        """Seconds of the run, or as much of them as the count says."""
        job = self._job
        if job is None or job.count is None:
            return at + (job.warmup if job else 0.0)
        return (job.warmup + job.duration) * min(self._requests / job.count, 1.0)

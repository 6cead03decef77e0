"""A run: starts its processes, merges what they measure, and ends them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, cast

from tcplb.loadgen.errors import ProcessError
from tcplb.loadgen.job import Job
from tcplb.loadgen.process import AT, TICK
from tcplb.loadgen.result import RunResult
from tcplb.loadgen.tally import Tally
from tcplb.loadgen.timeline import Timeline, second_of

OnTick = Callable[[float, Tally], None]
"""Called with the seconds since counting began and what was measured since the last call; with
several processes, by one after the other. Ticks of the warm-up have negative seconds."""

START_TIME = 30.0
"""Seconds that a process may take until it is ready."""
LEAD = 0.03
"""Seconds from the word to begin until all begin together."""
END_TIME = 10.0
"""Seconds past its end after which a run is given up."""

_LONGEST_LINE = 64 * 1024 * 1024


class Run:
    """One run of the load generator. To be run once."""

    def __init__(self, job: Job, *, processes: int = 1, on_tick: OnTick | None = None) -> None:
        """Prepare a run of `job` in so many processes, but at most one a connection."""
        self._job = job
        self._on_tick = on_tick
        self._shares = [_Share(share) for share in job.split(processes)]
        self._timeline = Timeline()
        self._total = Tally()
        self._seconds = 0.0
        self._stopped = False
        self.began: float | None = None
        """Seconds of the monotonic clock when counting begins or began; None before `begun`."""
        self.begun = asyncio.Event()
        """Set when `began` is known."""

    async def run(self) -> RunResult:
        """Do it; return what was measured. Raises ProcessError."""
        started_at = time.time()
        try:
            for share in self._shares:
                await share.start()
            await asyncio.gather(*(share.ready() for share in self._shares))
            started_at = self._begin()
            await self._read_all()
        finally:
            for share in self._shares:
                await share.end()
        return self._result(started_at)

    def stop(self) -> None:
        """End it early: `run` then returns what was measured so far."""
        self._stopped = True
        for share in self._shares:
            share.stop()

    def _begin(self) -> float:
        """Let all processes begin; return the time of day when counting begins."""
        now = time.monotonic()
        self.began = now + LEAD + self._job.warmup
        self.begun.set()
        for share in self._shares:
            share.begin(int((now + LEAD) * 1e9))
        return time.time() + LEAD + self._job.warmup

    async def _read_all(self) -> None:
        limit = LEAD + self._job.warmup + self._job.duration + self._job.timeout + END_TIME
        try:
            async with asyncio.timeout(limit):
                await asyncio.gather(*(share.read(self._take) for share in self._shares))
        except TimeoutError:
            raise ProcessError("the load did not end in time") from None

    def _take(self, share: _Share, at: float, tally: Tally) -> None:
        """Take what one process has measured until `at`."""
        share.open, tally.open = tally.open, 0
        number = second_of(at)
        if number >= 0:
            self._total.merge(tally)
        else:
            self._merge_warmup(tally)
        opened = sum(share.open for share in self._shares)
        self._total.open = max(self._total.open, opened)
        self._timeline.add(number, tally, opened)
        self._seconds = max(self._seconds, at)
        if self._on_tick is not None:
            self._on_tick(at, tally)

    def _result(self, started_at: float) -> RunResult:
        return RunResult(
            job=self._job,
            processes=len(self._shares),
            started_at=started_at,
            seconds=self._seconds,
            total=self._total,
            timeline=self._timeline.complete(),
            interrupted=self._stopped,
        )

    def _merge_warmup(self, tally: Tally) -> None:
        """Of the warm-up, keep what is still so when counting begins: who has which connection."""
        total = self._total
        total.keys += tally.keys
        if not self._job.mode.keeps_connections:
            return
        total.connections += tally.connections
        for name, served in tally.backends.items():
            total.served(name).connections += served.connections


class _Share:
    """One process, and the share of the run that it does."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._process: asyncio.subprocess.Process | None = None
        self._begun = self._stopped = False
        self.open = 0
        """Connections that it has open, as of its last tick."""

    async def start(self) -> None:
        """Start it. Raises ProcessError."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tcplb.loadgen.process"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_LONGEST_LINE,
                start_new_session=True,  # ^C goes to us alone
            )
        except OSError as error:
            raise ProcessError(f"cannot start a process: {error.strerror}") from error
        self._write(self._job.to_json())

    async def ready(self) -> None:
        """Wait until it is. Raises ProcessError."""
        try:
            line = await asyncio.wait_for(self._stdout.readline(), START_TIME)
        except TimeoutError:
            raise ProcessError("a process of the load did not start in time") from None
        if not line:
            raise await self._death()

    def begin(self, at: int) -> None:
        """Let it begin at `at` (nanoseconds of the monotonic clock)."""
        self._write(str(at))
        self._begun = True
        if self._stopped:
            self._write("stop")

    def stop(self) -> None:
        """Let it end early."""
        self._stopped = True
        if self._begun:  # a process that is told before takes it for the beginning
            self._write("stop")

    async def read(self, take: Callable[[_Share, float, Tally], None]) -> None:
        """Hand on its ticks until it ends. Raises ProcessError if it dies."""
        async for line in self._stdout:
            if not line.endswith(b"\n"):
                break  # it died within the line
            message: dict[str, Any] = json.loads(line)
            take(self, message[AT], Tally.from_json(message[TICK]))
        if await self._running.wait():
            raise await self._death()

    async def end(self) -> None:
        """End it, if it runs."""
        if self._process is None:
            return
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()

    @property
    def _running(self) -> asyncio.subprocess.Process:
        return cast(asyncio.subprocess.Process, self._process)

    @property
    def _stdout(self) -> asyncio.StreamReader:
        return cast(asyncio.StreamReader, self._running.stdout)

    def _write(self, line: str) -> None:
        # A pipe that broke is no news: the end of its output tells the same.
        cast(asyncio.StreamWriter, self._running.stdin).write(f"{line}\n".encode())

    async def _death(self) -> ProcessError:
        """Return why it died, in one line."""
        said = await cast(asyncio.StreamReader, self._running.stderr).read()
        code = await self._running.wait()
        reason = said.decode(errors="replace").strip().rpartition("\n")[2]
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return ProcessError(f"a process of the load {how}{reason and f': {reason}'}")

"""A light load that goes on until it is stopped, and can be started again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tcplb.loadgen.errors import LoadError
from tcplb.loadgen.job import Job, Mode, Target
from tcplb.loadgen.run import Run
from tcplb.loadgen.tally import Tally

RATE = 40.0
"""Connections a second, each with one request."""
STOP_TIME = 5.0
"""Seconds that a run may take to end."""

_CLIENTS = 8
_PATHS = 50
_RUN_TIME = 86_400.0
"""Seconds after which one run follows another."""


class LightLoad:
    """The load of the demo: `start` and `stop` may be called again and again."""

    def __init__(
        self, port: int, *, on_tick: Callable[[Tally], None], on_trouble: Callable[[str], None]
    ) -> None:
        """Prepare a load on a port of this machine.

        `on_tick` gets what was measured since its last call, `on_trouble` why a load ended by
        itself.
        """
        self._job = Job(
            Target(
                f"http://localhost:{port}/", "127.0.0.1", port, path="/", host=f"localhost:{port}"
            ),
            mode=Mode.CONNECT,
            connections=_CLIENTS,
            rate=RATE,
            paths=_PATHS,
            duration=_RUN_TIME,
        )
        self._on_tick = on_tick
        self._on_trouble = on_trouble
        self._run: Run | None = None
        self._wanted = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Do nothing yet."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()

    @property
    def on(self) -> bool:
        """Whether there is a load."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin, unless there is a load already."""
        if self.on:
            return
        self._wanted = True
        self._run = None
        self._task = asyncio.create_task(self._load(), name="light load")

    async def stop(self) -> None:
        """End it, and wait until it has ended."""
        if self._task is None:
            return
        self._wanted = False
        if self._run is not None and self._run.began is not None:
            self._run.stop()
            await asyncio.wait({self._task}, timeout=STOP_TIME)
        self._task.cancel()  # one that has not begun has nothing to end in order
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()

    async def _load(self) -> None:
        try:
            while self._wanted:
                self._run = Run(self._job, on_tick=lambda _, tally: self._on_tick(tally))
                await self._run.run()
        except LoadError as error:
            self._on_trouble(f"the light load ended: {error}")

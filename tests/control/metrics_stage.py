"""A balancer in this process, without its workers unless they are wanted, and its metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tcplb.config.settings import load
from tcplb.control.configuration import Configuration, Source
from tcplb.control.events import Events
from tcplb.control.metrics import Metrics
from tcplb.control.operator import Operator
from tcplb.control.serving import Serving
from tcplb.control.turns import Turns
from tests.control.metrics_page import Page

TOML = """
listeners = [
    { name = "front", bind = "127.0.0.1:0", pool = "web" },
    { name = "side", bind = "127.0.0.1:0", pool = "plain" },
]
[pools.web]
strategy = "hash"
backends = [
    { name = "b1", address = "127.0.0.1:81" },
    { name = "b2", address = "127.0.0.1:82" },
]
[pools.plain]
backends = [{ name = "b1", address = "127.0.0.1:83" }]
"""
STARTED_AT = 1_700_000_000.5
NOW = 1000.0
"""What the monotonic clock of the metrics always says."""


class Stage:
    """The parts of a balancer, and the page that they make."""

    def __init__(self, file: Path, serving: Serving, operator: Operator, proc: Path) -> None:
        self.file = file
        self.serving = serving
        self.crew = serving.crew
        self.board = serving.board
        self.operator = operator
        self.metrics = Metrics(
            serving, operator, started_at=STARTED_AT, clock=lambda: NOW, proc=proc
        )

    def page(self) -> Page:
        return Page(self.metrics.text().decode())

    def value(self, name: str, **labels: str) -> float:
        return self.page().value(name, **labels)


@contextlib.asynccontextmanager
async def metrics_stage(
    file: Path, toml: str = TOML, *, workers: int = 0, proc: Path = Path("/proc")
) -> AsyncIterator[Stage]:
    """Yield a balancer with the settings of `toml`, written to `file`, and so many workers."""
    configuration = _configuration(file, toml)
    with (
        contextlib.closing(Turns.create()) as turns,
        Serving(configuration.config, turns, Events()) as serving,
    ):
        operator = Operator(configuration, serving, reload_soon=lambda: None)
        try:
            serving.crew.start(workers)
            yield Stage(file, serving, operator, proc)
        finally:
            await serving.crew.drain(0.0, asyncio.Event())
            await operator.close()


def _configuration(file: Path, toml: str) -> Configuration:
    file.write_text(toml)
    return Configuration(Source(file, load), load(file))

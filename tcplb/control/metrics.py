"""What /metrics of the admin port says: counts of the scoreboard, and what the supervisor knows.

No worker is asked for anything, so a scrape costs the data plane nothing. docs/metrics.md has the
list. Labels are names of the configuration and words of ours: no client can add a series.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from tcplb import __version__
from tcplb.control.metrics_pools import pool_metrics
from tcplb.control.metrics_processes import PROC, process_metrics
from tcplb.control.metrics_text import Family, Kind, labels
from tcplb.control.metrics_traffic import traffic_metrics
from tcplb.control.operator import Operator
from tcplb.control.serving import Serving


class Metrics:
    """The page of metrics of a running balancer."""

    def __init__(
        self,
        serving: Serving,
        operator: Operator,
        *,
        started_at: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        proc: Path = PROC,
    ) -> None:
        """Look at these from now on.

        `started_at` is when the balancer started, in seconds since the epoch; now, if not given.
        `clock` is the monotonic one, which the workers go by too.
        """
        self._serving = serving
        self._operator = operator
        self._started_at = time.time() if started_at is None else started_at
        self._clock = clock
        self._proc = proc
        self._build = labels(
            version=__version__, python=platform.python_version(), uvloop=_uvloop_version()
        )

    def text(self) -> bytes:
        """Return the page, in Prometheus's text format 0.0.4."""
        serving = self._serving
        plan, board, crew = serving.plan, serving.board, serving.crew
        families = (
            *traffic_metrics(plan, board),
            *pool_metrics(plan, board, crew.verdicts),
            *self._accept_metrics(),
            *self._reload_metrics(),
            *process_metrics(crew, board, self._clock(), self._proc),
            *self._own_metrics(),
        )
        return "".join(family.text() for family in families).encode(errors="replace")

    def _accept_metrics(self) -> Sequence[Family]:
        totals = self._serving.board.totals()
        return (
            _single(
                "tcplb_accept_pauses_total",
                "counter",
                "How often accepting paused because of a max_connections.",
                totals.pauses,
            ),
            _single(
                "tcplb_accept_failures_total",
                "counter",
                "Accepts that failed, mostly for want of file descriptors or memory.",
                totals.accept_failures,
            ),
            _single(
                "tcplb_strategy_failures_total",
                "counter",
                "Picks of a strategy of the user's own that could not be used.",
                totals.strategy_failures,
            ),
            _single(
                "tcplb_max_connections",
                "gauge",
                "The most connections at once, over all workers.",
                self._serving.max_connections(),
            ),
        )

    def _reload_metrics(self) -> Sequence[Family]:
        reloads, configuration = self._operator.reloads, self._operator.configuration
        results = Family(
            "tcplb_reloads_total",
            "counter",
            "Reloads of the configuration and changes at run time, by how they went.",
        )
        results.add(reloads.succeeded, labels(result="success"))
        results.add(reloads.failed, labels(result="failure"))
        return (
            results,
            _single(
                "tcplb_last_reload_success",
                "gauge",
                "Whether the last reload succeeded; 1 if there was none yet.",
                int(reloads.last_error is None),
            ),
            _single(
                "tcplb_last_reload_timestamp_seconds",
                "gauge",
                "When the last reload or change was tried, or else the start, since the epoch.",
                configuration.loaded_at if reloads.last_at is None else reloads.last_at,
            ),
            _single(
                "tcplb_runtime_changes",
                "gauge",
                "Changes at run time that are in force and not in the file.",
                sum(1 for _ in configuration.changes),
            ),
        )

    def _own_metrics(self) -> Sequence[Family]:
        build = Family("tcplb_build_info", "gauge", "What is running; always 1.")
        build.add(1, self._build)
        started = "When tcplb was started, since the epoch."
        return (
            build,
            _single("tcplb_start_time_seconds", "gauge", started, self._started_at),
        )


def _single(name: str, kind: Kind, meaning: str, value: float) -> Family:
    """Return a metric that has one sample and no labels."""
    family = Family(name, kind, meaning)
    family.add(value)
    return family


def _uvloop_version() -> str:
    # It is not made for Windows, where asyncio's own loop takes its place.
    return "" if sys.platform == "win32" else metadata.version("uvloop")

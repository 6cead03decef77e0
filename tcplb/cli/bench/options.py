"""The options of `tcplb bench`: what each takes, its bounds, and its words in the help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tcplb.config.units import parse_duration, parse_size
from tcplb.loadgen.job import Mode
from tcplb.loadgen.keys import MAX_SOURCES
from tcplb.loadgen.reports import expect
from tcplb.policy.names import StrategyName

LONGEST = 86_400.0
"""Seconds that a run may take."""
LONGEST_TIMEOUT = 3600.0
"""Seconds; a histogram has room for a little more."""
MOST_CONNECTIONS = 1_000_000
MOST_COUNT = 10**12
LARGEST_PAYLOAD = 64 * 1024 * 1024
MOST_PATHS = 1_000_000

Value = TypeVar("Value")


def _read(parse: Callable[[str], Value]) -> Callable[..., Value | None]:
    """Convert an option by `parse`, and show its own words if the option is wrong."""

    def convert(_ctx: click.Context, _param: click.Parameter, text: str | None) -> Value | None:
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return convert


def _duration(least: float, most: float = LONGEST) -> Callable[[str], float]:
    def parse(text: str) -> float:
        seconds = parse_duration(text)
        if not least <= seconds <= most:
            raise ValueError(f"must be from {least:g}s to {most / 3600:g}h (got {text})")
        return seconds

    return parse


def _payload(text: str) -> int:
    size = parse_size(text)
    if size > LARGEST_PAYLOAD:
        raise ValueError(f"must be at most 64MiB (got {text})")
    return size


def _expectations(
    _ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]
) -> tuple[expect.Expectation, ...]:
    try:
        return tuple(expect.parse(text) for text in texts)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _file(_ctx: click.Context, _param: click.Parameter, path: Path | None) -> Path | None:
    # Found out before the load, and not when it is over.
    if path is not None and not path.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no directory {path.absolute().parent}")
    return path


_LOAD_OPTIONS = (
    click.option(
        "--mode",
        type=click.Choice([mode.value for mode in Mode]),
        help="What clients do. [default: request over HTTP, echo over raw TCP]",
    ),
    click.option(
        "-c",
        "--connections",
        type=click.IntRange(1, MOST_CONNECTIONS),
        help="Clients, each with one connection at a time. [default: 64; bulk 4, idle 1000]",
    ),
    click.option(
        "-r",
        "--rate",
        type=click.FloatRange(0, 10_000_000, min_open=True),
        help="Open loop: so many requests per second, whether or not the last are answered.",
    ),
    click.option(
        "--burst",
        type=click.IntRange(1, 1_000_000),
        help="Requests of the open loop that are due at once; the mean rate stays.",
    ),
    click.option(
        "--ramp",
        metavar="DURATION",
        callback=_read(_duration(0)),
        help="Time in which the connections, or the rate, grow to the whole.",
    ),
    click.option(
        "-d",
        "--duration",
        metavar="DURATION",
        callback=_read(_duration(0.1)),
        help="Time that counts. [default: 10s; with --count, 10m at most]",
    ),
    click.option(
        "-n",
        "--count",
        type=click.IntRange(1, MOST_COUNT),
        help="End after so many requests.",
    ),
    click.option(
        "--warmup",
        metavar="DURATION",
        callback=_read(_duration(0)),
        help="Time before it, which does not count. [default: 0s]",
    ),
    click.option(
        "--payload",
        metavar="SIZE",
        callback=_read(_payload),
        help="Size of a payload: 100, 64KiB. [default: 64; bulk 1MiB]",
    ),
    click.option(
        "--paths",
        type=click.IntRange(1, MOST_PATHS),
        default=1,
        show_default=True,
        help="Distinct request targets, one for each connection: /0, /1 and so on.",
    ),
    click.option(
        "--source-addresses",
        "sources",
        type=click.IntRange(1, MAX_SOURCES),
        default=1,
        show_default=True,
        help="Addresses of 127.0.0.0/8 to connect from; ports run out at 28,000 on one.",
    ),
    click.option(
        "--timeout",
        metavar="DURATION",
        callback=_read(_duration(0.01, LONGEST_TIMEOUT)),
        default="5s",
        show_default=True,
        help="Time for a connect, and for an answer.",
    ),
    click.option(
        "-p",
        "--processes",
        type=click.IntRange(1, 256),
        default=1,
        show_default=True,
        help="Processes that share the load; each keeps a core busy.",
    ),
    click.option(
        "--backend-header",
        metavar="NAME",
        default="X-Backend",
        show_default=True,
        help="Header in which a backend names itself.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0, 2**32),
        default=0,
        show_default=True,
        help="Of all that is random.",
    ),
)
LOAD_FLAGS = {
    "connections", "rate", "burst", "ramp", "duration", "count", "warmup", "payload", "paths",
    "sources", "timeout", "processes", "backend_header", "seed",
}  # fmt: skip
"""The options that make a job, by the names of `Flags`."""

_BED_OPTIONS = (
    click.option(
        "--backends",
        type=click.IntRange(1, 64),
        default=4,
        show_default=True,
        help="Without a target: echo backends to start.",
    ),
    click.option(
        "--strategy",
        type=click.Choice([name.value for name in StrategyName]),
        default=StrategyName.ROUND_ROBIN.value,
        show_default=True,
        help="Without a target: how the balancer chooses.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1, 64),
        default=1,
        show_default=True,
        help="Without a target: workers of the balancer.",
    ),
    click.option(
        "--chaos",
        is_flag=True,
        help="Without a target: kill and restart backends meanwhile, and say what clients saw.",
    ),
)

_REPORT_OPTIONS = (
    click.option(
        "--compare",
        multiple=True,
        metavar="NAME=TARGET",
        help="Run several targets interleaved and print ratios to the first; repeatable, or "
        "followed by more NAME=TARGET.",
    ),
    click.option(
        "--rounds",
        type=click.IntRange(1, 1000),
        default=5,
        show_default=True,
        help="Of a comparison; in each, every target runs for --duration [default: 2s].",
    ),
    click.option(
        "--expect",
        "expectations",
        multiple=True,
        metavar="GATE",
        callback=_expectations,
        help="Exit with 99 unless it holds: p99<20ms, errors==0, imbalance<1.2; repeatable.",
    ),
    click.option(
        "--format",
        "form",
        type=click.Choice(["text", "json", "csv"]),
        default="text",
        show_default=True,
        help="Form of the report.",
    ),
    click.option(
        "--hgrm",
        is_flag=True,
        help="Print the latencies as HdrHistogram's percentile distribution instead.",
    ),
    click.option(
        "--html",
        type=click.Path(path_type=Path, dir_okay=False, writable=True),
        callback=_file,
        metavar="FILE",
        help="Also write a page with charts that needs nothing else.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="No progress bar, no news."),
    click.option(
        "--allow-remote",
        is_flag=True,
        help="Load a target that is not on this machine's loopback. Only load what is yours.",
    ),
)


def bench_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add all options to the command."""
    for option in reversed((*_LOAD_OPTIONS, *_BED_OPTIONS, *_REPORT_OPTIONS)):
        command = option(command)
    return command

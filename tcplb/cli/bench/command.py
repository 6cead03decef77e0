"""`tcplb bench`: load a target, and say what came of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tcplb.cli.bench.jobs import Flags
from tcplb.cli.bench.output import Output
from tcplb.cli.bench.progress import Progress
from tcplb.cli.bench.runs import Bed, Runs
from tcplb.cli.bench.scenarios import chaos, scenarios
from tcplb.cli.exits import Exit
from tcplb.config.units import parse_duration, parse_size
from tcplb.loadgen.errors import LoadError, TargetError
from tcplb.loadgen.job import Job, Mode
from tcplb.loadgen.keys import MAX_SOURCES
from tcplb.loadgen.reports import expect
from tcplb.loadgen.result import RunResult
from tcplb.loadgen.target import resolve
from tcplb.policy.names import StrategyName
from tcplb.testbed.errors import BedError

LONGEST = 86_400.0
"""Seconds that a run may take."""
LONGEST_TIMEOUT = 3600.0
"""Seconds; a histogram has room for a little more."""
COMPARE_SECONDS = 2.0
"""Of a target in each round, unless `--duration` says otherwise."""
MOST_CONNECTIONS = 1_000_000
MOST_COUNT = 10**12
LARGEST_PAYLOAD = 64 * 1024 * 1024
MOST_PATHS = 1_000_000

Value = TypeVar("Value")

_NAMED = re.compile(r"([A-Za-z0-9_.-]+)=(.+)")


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
_LOAD_FLAGS = {
    "connections", "rate", "burst", "ramp", "duration", "count", "warmup", "payload", "paths",
    "sources", "timeout", "processes", "backend_header", "seed",
}  # fmt: skip

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


def _with(*groups: tuple[Callable[..., Any], ...]) -> Callable[..., Any]:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for group in reversed(groups):
            for option in reversed(group):
                command = option(command)
        return command

    return decorate


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]")
@_with(_LOAD_OPTIONS, _BED_OPTIONS, _REPORT_OPTIONS)
@click.pass_context
def bench(ctx: click.Context, /, **options: Any) -> None:
    """Load TARGET and report rates, latencies, failures and the spread over backends.

    TARGET is 127.0.0.1:9090 (raw TCP) or http://127.0.0.1:9090/path (HTTP/1.1). Without one, it
    starts echo backends and a balancer itself and runs a short set of scenarios. Durations read
    like 250ms, 5s or 1h.

    \b
    Modes:
      echo          random payloads, every byte that returns is checked
      request       HTTP requests on kept connections
      connect       connect, one exchange, close
      connect-only  connect, close
      bulk          throughput each way
      idle          hold connections and watch whether they stay
      churn         all of it mixed

    \b
    Examples:
      tcplb bench
      tcplb bench http://127.0.0.1:9090/ --paths 1000 --mode connect --duration 5s
      tcplb bench 127.0.0.1:9090 --rate 2000 --expect 'p99<20ms' --expect 'errors==0'
      tcplb bench --compare a=127.0.0.1:9090 b=127.0.0.1:9091 --mode connect
      tcplb bench --chaos --html chaos.html

    Exit codes: 0 fine, 1 nothing succeeded, or a failure, 2 usage, 99 an --expect was missed. ^C
    prints what was measured so far.
    """  # noqa: D301 - click wants the character, not a backslash and a b
    try:
        ctx.exit(_bench(options))
    except TargetError as error:
        raise click.UsageError(str(error)) from error
    except (LoadError, BedError) as error:
        click.echo(f"tcplb: {error}", err=True)
        ctx.exit(Exit.FAILURE)


def _bench(options: dict[str, Any]) -> Exit:
    mode = options["mode"] and Mode(options["mode"])
    flags = Flags(mode=mode, **{name: options[name] for name in _LOAD_FLAGS})
    form = "hgrm" if options["hgrm"] else options["form"]
    output = Output(form, options["html"], options["expectations"])
    _check_together(options)
    if options["compare"]:
        return _compare(options, flags, output)
    if options["targets"]:
        return _load(options, flags, output)
    return _load_own_balancer(options, flags, output)


def _check_together(options: dict[str, Any]) -> None:
    """Raises UsageError for what is never asked for together."""
    if options["hgrm"] and options["form"] != "text":
        raise click.UsageError("--hgrm is a form of its own: leave --format away")
    if options["compare"] and options["hgrm"]:
        raise click.UsageError("--hgrm is of one target; a comparison has several")
    if not options["compare"] and len(options["targets"]) > 1:
        raise click.UsageError("one TARGET at a time; --compare NAME=TARGET … has several")
    given = options["targets"] or options["compare"]
    if options["chaos"] and given:
        raise click.UsageError(
            "--chaos kills echo backends that it has started itself: leave the target away"
        )


def _compare(options: dict[str, Any], flags: Flags, output: Output) -> Exit:
    jobs: list[tuple[str, Job]] = []
    for text in (*options["compare"], *options["targets"]):
        match = _NAMED.fullmatch(text)
        if match is None:
            raise click.UsageError(f"{text!r} is not NAME=TARGET")
        if match[1] in dict(jobs):
            raise click.UsageError(f"two targets are called {match[1]!r}")
        target = resolve(match[2], allow_remote=options["allow_remote"])
        jobs.append((match[1], flags.job(target, duration=COMPARE_SECONDS)))
    if len(jobs) < 2:
        raise click.UsageError("a comparison needs two targets")

    async def compare(runs: Runs) -> list[list[RunResult]]:
        return await runs.in_turns(jobs, options["rounds"])

    rounds = _run(options, compare)
    if not rounds:
        click.echo("tcplb: interrupted before the first round was over", err=True)
        return Exit.FAILURE
    return output.of_comparison(rounds)


def _load(options: dict[str, Any], flags: Flags, output: Output) -> Exit:
    job = flags.job(resolve(options["targets"][0], allow_remote=options["allow_remote"]))

    async def load(runs: Runs) -> list[RunResult]:
        return [await runs.one(job)]

    return output.of_runs(_run(options, load), several=False)


def _load_own_balancer(options: dict[str, Any], flags: Flags, output: Output) -> Exit:
    bed = Bed(options["backends"], options["strategy"], options["workers"])
    jobs = [] if options["chaos"] else scenarios(flags)
    disturbed = chaos(flags) if options["chaos"] else None

    def say(line: str) -> None:
        if not options["quiet"]:
            click.echo(line, err=True)

    async def load(runs: Runs) -> list[RunResult]:
        if disturbed is not None:
            return [await runs.with_chaos(disturbed, bed, say)]
        return await runs.on_bed(jobs, bed, say)

    return output.of_runs(_run(options, load), several=len(jobs) > 1)


def _run(options: dict[str, Any], load: Callable[[Runs], Awaitable[Value]]) -> Value:
    """Do the runs, with ^C ending them early."""
    progress = Progress(wanted=not options["quiet"])

    async def run() -> Value:
        with Runs(processes=options["processes"], progress=progress) as runs:
            return await load(runs)

    return asyncio.run(run())

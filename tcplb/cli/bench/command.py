"""`tcplb bench`: load a target, and say what came of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from tcplb.cli.bench.jobs import Flags
from tcplb.cli.bench.options import LOAD_FLAGS, bench_options
from tcplb.cli.bench.output import Output
from tcplb.cli.bench.progress import Progress
from tcplb.cli.bench.runs import Bed, Runs
from tcplb.cli.bench.scenarios import chaos, scenarios
from tcplb.cli.exits import Exit
from tcplb.loadgen.errors import LoadError, TargetError
from tcplb.loadgen.job import Job, Mode
from tcplb.loadgen.result import RunResult
from tcplb.loadgen.target import resolve
from tcplb.testbed.errors import BedError

COMPARE_SECONDS = 2.0
"""Of a target in each round, unless `--duration` says otherwise."""

Value = TypeVar("Value")

_NAMED = re.compile(r"([A-Za-z0-9_.-]+)=(.+)")


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]")
@bench_options
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
    flags = Flags(mode=mode, **{name: options[name] for name in LOAD_FLAGS})
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

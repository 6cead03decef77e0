"""`python -m bench`: the comparison."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

import click

from bench import cores
from bench.candidates import CANDIDATES, OPTIONAL, WORKERS, Candidate
from bench.comparison import Comparison
from bench.load.client import LoadError
from bench.machine import describe_machine
from bench.markdown import to_markdown
from bench.picks import compare_picks
from bench.picture import to_svg
from bench.processes import SkippedError, raise_descriptor_limit
from bench.report import ALL_SCENARIOS, make_report
from bench.results import Results, Skipped
from bench.scenarios import PICK, SCENARIOS
from bench.scenarios import WORKERS as WORKERS_SCENARIO
from bench.settings import Settings, smoke

_BY_NAME = {candidate.name: candidate for candidate in (*CANDIDATES, *OPTIONAL)}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--rounds", type=click.IntRange(1), help=f"Repetitions.  [default: {Settings.rounds}]"
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    help=f"Time that counts in each slice.  [default: {Settings.seconds:g}]",
)
@click.option(
    "--only",
    type=click.Choice([scenario.name for scenario in ALL_SCENARIOS]),
    multiple=True,
    help="A scenario to run; repeatable.  [default: all]",
)
@click.option(
    "--candidates",
    type=click.Choice(list(_BY_NAME)),
    multiple=True,
    help="A balancer to compare; repeatable. HAProxy's are the measure of ratios.  "
    "[default: all but naive]",
)
@click.option(
    "--smoke",
    "tiny",
    is_flag=True,
    help="Do as little as shows that all of it works; fail if tcplb does not.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write JSON here.")
@click.option("--svg", "svg_path", type=click.Path(path_type=Path), help="Write a picture here.")
def main(
    *,
    rounds: int | None,
    seconds: float | None,
    only: tuple[str, ...],
    candidates: tuple[str, ...],
    tiny: bool,
    json_path: Path | None,
    svg_path: Path | None,
) -> None:
    """Compare tcplb with HAProxy, nginx and a balancer in Go, and print a report in Markdown.

    bench/README.md says what is measured, and how to read it. What is not installed is skipped and
    named. Progress goes to stderr.
    """
    signal.signal(signal.SIGTERM, _exit)
    settings = smoke() if tiny else Settings()
    settings = replace(settings, rounds=rounds or settings.rounds)
    settings = replace(settings, seconds=seconds or settings.seconds)
    settings = settings.within(raise_descriptor_limit())
    named = [_BY_NAME[name] for name in candidates]
    results = Results()
    with cores.kept_awake() as awake:
        _run(settings, results, named, only or [scenario.name for scenario in ALL_SCENARIOS])
    machine = describe_machine(awake=awake)
    report = make_report(results, settings, machine, _versions(named or CANDIDATES))
    click.echo(to_markdown(report), nl=False)
    if json_path:
        json_path.write_text(json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n")
    if svg_path:
        svg_path.write_text(to_svg(report))
    if tiny and (failed := own_failures(results.skipped)):
        raise click.ClickException(f"not measured: {', '.join(failed)}")


def _run(
    settings: Settings, results: Results, named: Sequence[Candidate], wanted: Sequence[str]
) -> None:
    say = _Progress()
    with (
        tempfile.TemporaryDirectory(prefix="tcplb-bench-") as directory,
        cores.started_on(cores.LOAD),
    ):
        comparison = Comparison(settings, results, Path(directory), say)
        try:
            for scenario in SCENARIOS:
                if scenario.name in wanted:
                    comparison.run(scenario, named or _usual(scenario.name))
            if PICK.name in wanted:
                compare_picks(settings, results, say)
            if WORKERS_SCENARIO.name in wanted:
                comparison.run(WORKERS_SCENARIO, WORKERS, on=cores.ALL)
        except LoadError as error:
            raise click.ClickException(str(error)) from error


def own_failures(skipped: Sequence[Skipped]) -> list[str]:
    """Return what of tcplb itself was skipped: nothing of it may be missing."""
    return sorted({one.what for one in skipped if one.what.startswith("tcplb")})


def _usual(scenario: str) -> list[Candidate]:
    return [candidate for candidate in CANDIDATES if candidate.only_in in {"", scenario}]


def _versions(candidates: Sequence[Candidate]) -> dict[str, str]:
    versions = {}
    for candidate in candidates:
        try:
            versions[candidate.name] = f"{candidate.version()}: {candidate.about}"
        except SkippedError as error:
            versions[candidate.name] = str(error)
    return versions


class _Progress:
    """Says on stderr what has just been done, with the time since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, what: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        click.echo(f"[{minutes:02d}:{seconds:02d}] {what}", err=True)


def _exit(number: int, _: FrameType | None) -> None:
    """End in order, so that everything that was started ends too."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main(prog_name="python -m bench")

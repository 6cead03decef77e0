"""`python -m bench.generator`: is `tcplb bench` fast enough not to be what is measured?

It and wrk load the same nginx, one after the other, round by round, each on one core while nginx
has another. A ratio is taken within a round, of two runs that are seconds apart.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from bench import cores
from bench.candidates import program
from bench.configs import nginx_http
from bench.load.client import LoadError
from bench.processes import PATIENCE, SkippedError, clean_environment, free_port, last_line, started

TARGET = 0.9
"""Of wrk's rate, at least."""
CONNECTIONS = 64


@dataclass(frozen=True)
class Outcome:
    """What one generator did in one round."""

    rate: float
    """Requests per second."""
    cpu: float
    """Microseconds of CPU time per request, of all its processes."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
@click.option("--seconds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--smoke", is_flag=True, help="One short round: only whether it works.")
def main(*, rounds: int, seconds: int, smoke: bool) -> None:
    """Compare the load generator with wrk against nginx; print a table in Markdown."""
    if smoke:
        rounds, seconds = 1, 1
    try:
        done = compare(rounds, seconds)
    except SkippedError as error:
        click.echo(f"skipped: {error}")
        return
    except LoadError as error:
        raise click.ClickException(str(error)) from error
    click.echo(to_markdown(done, seconds))


def compare(rounds: int, seconds: int) -> list[tuple[Outcome, Outcome]]:
    """Return what wrk and `tcplb bench` did, round by round. Raises SkippedError or LoadError."""
    wrk = program("wrk")
    done = []
    with tempfile.TemporaryDirectory(prefix="tcplb-bench-") as directory, cores.kept_awake():
        for number in range(rounds):
            with _nginx(Path(directory)) as port, cores.started_on(cores.LOAD):
                done.append((_wrk(wrk, port, seconds), _tcplb(port, seconds)))
            click.echo(f"round {number + 1} of {rounds}", err=True)
    return done


def to_markdown(done: Sequence[tuple[Outcome, Outcome]], seconds: int) -> str:
    """Return the table and the verdict."""
    ratio = _spread([ours.rate / theirs.rate for theirs, ours in done], "{:.2f}")
    cpu_ratio = _spread([ours.cpu / theirs.cpu for theirs, ours in done], "{:.2f}")
    met = statistics.median(ours.rate / theirs.rate for theirs, ours in done) >= TARGET
    return "\n".join(
        [
            f"{len(done)} rounds of {seconds} s, {CONNECTIONS} connections, one core each.",
            "",
            "| generator | requests (1/s) | ratio | CPU per request (µs) | ratio |",
            "| --- | --- | --- | --- | --- |",
            _row("wrk", [theirs for theirs, _ in done], "1", "1"),
            _row("tcplb bench", [ours for _, ours in done], ratio, cpu_ratio),
            "",
            f"At least {TARGET} of wrk's rate: {'met' if met else 'missed'}.",
        ]
    )


def _row(name: str, outcomes: Sequence[Outcome], ratio: str, cpu_ratio: str) -> str:
    rates = _spread([outcome.rate for outcome in outcomes], "{:,.0f}")
    cpu = _spread([outcome.cpu for outcome in outcomes], "{:.2f}")
    return f"| {name} | {rates} | {ratio} | {cpu} | {cpu_ratio} |"


def _spread(values: Sequence[float], form: str) -> str:
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{form.format(median)} ({form.format(low)} – {form.format(high)})"


@contextlib.contextmanager
def _nginx(directory: Path) -> Iterator[int]:
    """Run nginx on the balancer's core; yields its port."""
    port = free_port()
    config, errors = directory / "nginx.conf", directory / "stderr"
    config.write_text(nginx_http(port, str(directory)))
    command = [program("nginx"), "-e", "stderr", "-p", str(directory), "-c", str(config)]
    with (
        errors.open("wb") as stderr,
        cores.started_on(cores.BALANCER),
        started(command, stderr=stderr) as process,
    ):
        _wait_until_it_listens(process, port, errors)
        yield port


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, stderr: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                reason = last_line(stderr) or str(error)
                raise SkippedError(f"nginx does not listen: {reason}") from error
        time.sleep(0.01)


def _wrk(wrk: str, port: int, seconds: int) -> Outcome:
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", f"http://127.0.0.1:{port}/"]
    printed, cpu = _run(command)
    found = re.search(r"(\d+) requests in .*Requests/sec:\s*([\d.]+)", printed, re.DOTALL)
    if found is None or "Socket errors" in printed:
        raise LoadError(f"wrk: {printed.strip()[-200:]}")
    return Outcome(float(found[2]), cpu / int(found[1]) * 1e6)


def _tcplb(port: int, seconds: int) -> Outcome:
    command = [
        *(sys.executable, "-m", "tcplb", "bench", f"http://127.0.0.1:{port}/", "--format", "json"),
        *(f"--connections={CONNECTIONS}", f"--duration={seconds}s", "--expect", "errors==0"),
    ]
    printed, cpu = _run(command)
    report = json.loads(printed)
    return Outcome(report["requests_per_second"], cpu / report["requests"] * 1e6)


def _run(command: Sequence[str]) -> tuple[str, float]:
    """Run a generator to its end; return what it printed and its seconds of CPU time."""
    before = os.times()
    done = subprocess.run(
        command, capture_output=True, text=True, env=clean_environment(), check=False
    )
    after = os.times()
    if done.returncode:
        raise LoadError(f"{command[0]}: {(done.stderr or done.stdout).strip()[-200:]}")
    used = after.children_user + after.children_system
    return done.stdout, used - before.children_user - before.children_system


if __name__ == "__main__":
    main(prog_name="python -m bench.generator")

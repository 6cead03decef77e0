"""`tcplb doctor`: are the machine and the settings fit for it, and what is to be done?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tcplb.cli.exits import Exit
from tcplb.cli.rehearsal import format_option
from tcplb.cli.settings import SettingsCommand, load_settings, settings_options
from tcplb.control.doctor.examination import examine
from tcplb.control.doctor.finding import Finding, Level
from tcplb.control.doctor.machine import Machine
from tcplb.control.user_function import load_functions
from tcplb.loadgen.reports.figures import plural

_STYLES = {
    Level.OK: "green",
    Level.UNKNOWN: "dim",
    Level.WARNING: "yellow",
    Level.PROBLEM: "bold red",
}
_LASTING = "sysctl -w lasts until the next boot: write what you keep into /etc/sysctl.d/tcplb.conf"


@click.command(cls=SettingsCommand)
@format_option
@settings_options
@click.pass_context
def doctor(ctx: click.Context, /, output_format: str, **_: Any) -> None:
    """Check this machine and the settings, and say what to do.

    Looks at limits, the kernel's settings, files, the listeners' addresses, and connects once to
    each backend. Nothing is changed. Run it as the user that tcplb runs as. Exits with 1 if there
    is a problem; warnings are fine.

    \b
    Examples:
      tcplb doctor --config /etc/tcplb/tcplb.toml
      tcplb doctor --max-connections 50000 --format json
    """  # noqa: D301 - click wants the character, not a backslash and a b
    config = load_settings(ctx).config
    load_functions(pool.strategy for pool in config.pools.values())
    findings = examine(config, Machine.this(), ctx.params["config_file"])
    if output_format == "json":
        click.echo(json.dumps(list(map(as_json, findings)), indent=2, ensure_ascii=False))
    else:
        _print(findings)
    if any(finding.level is Level.PROBLEM for finding in findings):
        ctx.exit(Exit.FAILURE)


def _print(findings: Sequence[Finding]) -> None:
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(as_table(findings))
    else:
        for line in as_lines(findings):
            click.echo(line)
    click.echo()
    click.echo(summary(findings))
    if any("sysctl -w" in finding.todo for finding in findings):
        click.echo(_LASTING)


def as_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the lines for who reads no terminal: one for what is, one for what to do."""
    check_width = max(len(finding.check) for finding in findings)
    level_width = max(map(len, Level))
    for finding in findings:
        check = finding.check.ljust(check_width)
        yield f"{finding.level:<{level_width}}  {check}  {finding.what}"
        if finding.todo:
            yield f"{'':{level_width}}  {'':{check_width}}  → {finding.todo}"


def as_table(findings: Sequence[Finding]) -> Table:
    """Return what is shown on a terminal."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for finding in findings:
        what = Text(finding.what)
        if finding.todo:
            what.append(f"\n→ {finding.todo}", style="bold")
        table.add_row(Text(finding.level, style=_STYLES[finding.level]), Text(finding.check), what)
    return table


def summary(findings: Sequence[Finding]) -> str:
    """Return how many of each level there are."""
    counts = Counter(finding.level for finding in findings)
    if not counts[Level.PROBLEM] and not counts[Level.WARNING]:
        return f"no problem in {plural(len(findings), 'check')}"
    return (
        f"{plural(counts[Level.PROBLEM], 'problem')} and {plural(counts[Level.WARNING], 'warning')}"
        f" in {plural(len(findings), 'check')}"
    )


def as_json(finding: Finding) -> dict[str, str | None]:
    """Return one entry of the list."""
    return {
        "check": finding.check,
        "level": finding.level.value,
        "what": finding.what,
        "todo": finding.todo or None,
    }

"""`tcplb ctl config` and `reload`: the configuration in force, and another one."""

from __future__ import annotations

from collections.abc import Iterator

import click

from tcplb.cli.ctl.applied import applied_lines
from tcplb.cli.ctl.connection import Connection, format_option
from tcplb.cli.ctl.output import confirm, is_asked, show, yes_option
from tcplb.cli.ctl.toml import config_lines
from tcplb.cli.exits import Exit
from tcplb.control.admin.models import Applied, ConfigDifference, ConfigView, Saved
from tcplb.errors import ConfigError
from tcplb.loadgen.reports.figures import plural, printable

RELOAD_TIME = 60.0
"""Seconds: a reload looks up names and starts what it needs before it answers."""


@click.group(invoke_without_command=True)
@format_option
@click.pass_context
def config(ctx: click.Context) -> None:
    """Show the configuration in force, with the runtime changes in it."""
    if ctx.invoked_subcommand is None:
        connection: Connection = ctx.obj
        show(connection, connection.ask("GET", "config"), ConfigView, config_lines)


@config.command()
@format_option
@click.pass_obj
def diff(connection: Connection) -> None:
    """Show what runtime changes have made different from the file."""
    show(connection, connection.ask("GET", "config", "diff"), ConfigDifference, _diff_lines)


def _diff_lines(difference: ConfigDifference) -> Iterator[str]:
    if not difference.changes and not difference.runtime_changes:
        yield "no runtime changes: what is in force is what the file says"
        return
    yield from (printable(change.text) for change in difference.changes)
    yield ""
    yield f"{plural(len(difference.runtime_changes), 'runtime change')}:"
    yield from (f"  {printable(change)}" for change in difference.runtime_changes)


@config.command()
@format_option
@click.pass_obj
def save(connection: Connection) -> None:
    """Write the runtime changes into the file, whose comments and form stay as they are."""
    show(connection, connection.ask("POST", "config", "save"), Saved, _saved_lines)


def _saved_lines(saved: Saved) -> Iterator[str]:
    if not saved.changes:
        yield f"there was nothing to save into {printable(saved.file)}"
        return
    yield f"{plural(len(saved.changes), 'runtime change')} saved into {printable(saved.file)}:"
    yield from (f"  {printable(change)}" for change in saved.changes)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--discard-changes", is_flag=True, help="Forget the runtime changes.")
@yes_option
@format_option
@click.pass_context
def reload(ctx: click.Context, *, dry_run: bool, discard_changes: bool, yes: bool) -> None:
    """Let the balancer read its config file again, and show what that changes.

    A file that is wrong changes nothing: its problems are printed as `tcplb check` prints them, and
    the exit code is 3.
    """
    connection: Connection = ctx.obj
    if discard_changes and not dry_run and is_asked(yes=yes):
        confirm("Reload, and forget all runtime changes that are not saved?")
    body = {"dry_run": dry_run, "discard_changes": discard_changes}
    try:
        text = connection.ask("POST", "reload", body=body, timeout=RELOAD_TIME)
    except ConfigError as error:
        # Not for `exit_for` to judge: a flag of the balancer's is no wrong use of this command.
        click.echo(str(error), err=True)
        ctx.exit(Exit.BAD_CONFIG)
    show(connection, text, Applied, _reload_lines)


def _reload_lines(applied: Applied) -> Iterator[str]:
    if not applied.applied:
        yield from applied_lines(applied, "a reload would change nothing")
        return
    yield from applied_lines(applied, "reloaded; nothing is different")

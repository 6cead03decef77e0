"""`tcplb ctl enable`, `disable`, `weight`, `add` and `remove`: backends, at run time."""

from __future__ import annotations

import click

from tcplb.cli.ctl.applied import applied_lines
from tcplb.cli.ctl.connection import Connection, format_option
from tcplb.cli.ctl.names import backend_argument, find_backend, find_pool, pool_option
from tcplb.cli.ctl.output import confirm, is_asked, show, yes_option
from tcplb.control.admin.models import Applied, BackendView
from tcplb.loadgen.reports.figures import plural
from tcplb.policy.backend import MAX_WEIGHT


@click.command()
@backend_argument
@pool_option
@format_option
@click.pass_obj
def enable(connection: Connection, backend: str, pool: str | None) -> None:
    """Let a backend have new connections (again)."""
    found = find_backend(connection, backend, pool)
    _show(connection, _set_state(connection, found, "enabled"))


@click.command()
@backend_argument
@pool_option
@yes_option
@format_option
@click.pass_obj
def disable(connection: Connection, backend: str, pool: str | None, *, yes: bool) -> None:
    """Let a backend have no new connections, and check it no more; those it has live on."""
    found = find_backend(connection, backend, pool)
    if is_asked(yes=yes):
        confirm(f"Disable {_described(found)}?")
    _show(connection, _set_state(connection, found, "disabled"))


@click.command()
@backend_argument
@click.argument("weight", type=click.IntRange(0, MAX_WEIGHT), metavar="N")
@pool_option
@format_option
@click.pass_obj
def weight(connection: Connection, backend: str, weight: int, pool: str | None) -> None:
    """Give a backend another weight: N from 0, which is no new connections, to 256."""
    found = find_backend(connection, backend, pool)
    path = ("backends", found.pool, found.name, "weight")
    _show(connection, connection.ask("PUT", *path, body={"weight": weight}))


@click.command()
@click.argument("backend", metavar="[NAME=]HOST:PORT[,OPTION]...")
@pool_option
@format_option
@click.pass_obj
def add(connection: Connection, backend: str, pool: str | None) -> None:
    """Add a backend to a pool, with the options that --backend of `tcplb serve` knows.

    \b
    Examples:
      tcplb ctl add 10.0.0.5:80 --pool web
      tcplb ctl add web-5=10.0.0.5:80,weight=2,max_connections=500 --pool web
    """  # noqa: D301 - click wants the character, not a backslash and a b
    where = find_pool(connection, pool)
    _show(connection, connection.ask("POST", "backends", where, body={"backend": backend}))


@click.command()
@backend_argument
@pool_option
@yes_option
@format_option
@click.pass_obj
def remove(connection: Connection, backend: str, pool: str | None, *, yes: bool) -> None:
    """Take a backend out of its pool; `drain` it first, if its connections matter."""
    found = find_backend(connection, backend, pool)
    if is_asked(yes=yes):
        confirm(f"Remove {_described(found)}?")
    _show(connection, connection.ask("DELETE", "backends", found.pool, found.name))


def _set_state(connection: Connection, backend: BackendView, state: str) -> str:
    path = ("backends", backend.pool, backend.name, "state")
    return connection.ask("PUT", *path, body={"state": state})


def _described(backend: BackendView) -> str:
    open_now = plural(backend.active, "open connection")
    return f"{backend.pool}/{backend.name} with its {open_now}"


def _show(connection: Connection, text: str) -> None:
    show(connection, text, Applied, lambda applied: applied_lines(applied, "it was so already"))

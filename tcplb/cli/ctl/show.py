"""`tcplb ctl status`, `pools`, `backends` and `backend`: how the balancer is."""

from __future__ import annotations

import click

from tcplb.cli.ctl.backend_report import backend_lines, backends_lines, pools_lines
from tcplb.cli.ctl.connection import Connection, format_option
from tcplb.cli.ctl.names import (
    backend_argument,
    complete_pool,
    find_backend,
    pool_option,
)
from tcplb.cli.ctl.output import show
from tcplb.cli.ctl.status_report import status_lines
from tcplb.control.admin.models import Backends, BackendView, Pools, Status


@click.command()
@format_option
@click.pass_obj
def status(connection: Connection) -> None:
    """Show the balancer as a whole: its state, workers, listeners and reloads."""
    show(connection, connection.ask("GET", "status"), Status, status_lines)


@click.command()
@format_option
@click.pass_obj
def pools(connection: Connection) -> None:
    """Show the pools.

    Two balancers with the same fingerprint of a pool agree on the backend of every key.
    """
    show(connection, connection.ask("GET", "pools"), Pools, pools_lines)


@click.command()
@click.argument("pool", required=False, shell_complete=complete_pool)
@format_option
@click.pass_obj
def backends(connection: Connection, pool: str | None) -> None:
    """Show the backends, of all pools or of one, and why those that are out are out."""
    text = connection.ask("GET", "backends", query={"pool": pool})
    show(connection, text, Backends, lambda answer: backends_lines(answer.backends))


@click.command()
@backend_argument
@pool_option
@format_option
@click.pass_obj
def backend(connection: Connection, backend: str, pool: str | None) -> None:
    """Show all that is known of one backend."""
    found = find_backend(connection, backend, pool)
    text = connection.ask("GET", "backends", found.pool, found.name)
    show(connection, text, BackendView, backend_lines)

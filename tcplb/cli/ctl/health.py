"""`tcplb ctl health`: an exit code for whoever starts and watches the balancer."""

from __future__ import annotations

import click

from tcplb.cli.ctl.connection import Connection, format_option
from tcplb.cli.ctl.output import echo_json
from tcplb.cli.exits import Exit
from tcplb.control.admin.client_errors import UnreachableError

PROBE_TIME = 3.0
"""Seconds; less than what a container's health check waits."""
_GOOD = 200


@click.command()
@click.option("--alive", is_flag=True, help="Ask only whether it answers, not if it is ready.")
@format_option
@click.pass_context
def health(ctx: click.Context, *, alive: bool) -> None:
    """Exit with 0 if the balancer is ready: serving, with a usable backend in every pool.

    Made for the health checks of containers: one line of output, no token, 3 seconds at most.

    \b
    Example:
      HEALTHCHECK CMD ["tcplb", "ctl", "health"]
    """  # noqa: D301 - click wants the character, not a backslash and a b
    connection: Connection = ctx.obj
    path = "/healthz" if alive else "/readyz"
    try:
        status, line = connection.run(lambda client: client.probe(path), timeout=PROBE_TIME)
    except UnreachableError as error:
        good, line = False, str(error)
    else:
        good, line = status == _GOOD, line or f"HTTP status {status}"
        line = line if good else f"not {'alive' if alive else 'ready'}: {line}"
    if connection.json:
        echo_json({"healthy": good, "detail": line})
    else:
        click.echo(line)
    ctx.exit(Exit.OK if good else Exit.FAILURE)

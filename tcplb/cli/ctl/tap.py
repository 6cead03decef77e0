"""`tcplb ctl tap`: the connections, as they end."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import click

from tcplb.cli.ctl.connection import Connection, format_option
from tcplb.cli.ctl.lost import say_lost
from tcplb.cli.ctl.names import complete_backend, complete_pool, listener_option, split_backend
from tcplb.cli.ctl.output import echo_json, note
from tcplb.cli.ctl.tap_line import tap_line
from tcplb.control.admin.client import AdminClient
from tcplb.control.admin.client_errors import read
from tcplb.control.admin.models import Ended
from tcplb.loadgen.reports.figures import plural


@click.command()
@listener_option
@click.option("--pool", metavar="NAME", shell_complete=complete_pool, help="Only of this pool.")
@click.option(
    "--backend", metavar="NAME", shell_complete=complete_backend, help="Only of this backend."
)
@click.option("--client", metavar="ADDRESS", help="Only of this IP address or network.")
@click.option(
    "--termination", metavar="CODE", help="Only with these two letters; ? is any: 'S?', '--'."
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many.")
@format_option
@click.pass_obj
def tap(connection: Connection, /, *, count: int | None, **wanted: Any) -> None:
    """Print each connection as it ends: the access log's line, or its record as JSON.

    The balancer's access log is not needed for it. If they end faster than this command reads,
    some are left out, and it says how many; so it is while the connection is lost.

    \b
    Examples:
      tcplb ctl tap --termination 'S?'          those that a backend has ended or refused
      tcplb ctl tap --format json | jq .client
    """  # noqa: D301 - click wants the character, not a backslash and a b
    connection.run(lambda client: _tap(connection, client, count, split_backend(wanted)))


async def _tap(
    connection: Connection, client: AdminClient, count: int | None, wanted: dict[str, Any]
) -> None:
    stream = client.stream(("connections", "stream"), query=wanted, on_lost=say_lost)
    seen = 0
    async with aclosing(stream) as messages:
        async for message in messages:
            ended = read(Ended, message.data)
            if ended.lost:
                note(f"tcplb: {plural(ended.lost, 'connection')} left out: they came too fast")
            if connection.json:
                echo_json(ended.record, line=True)
            else:
                click.echo(tap_line(ended.record))
            seen += 1
            if seen == count:
                return

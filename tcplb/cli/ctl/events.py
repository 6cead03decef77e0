"""`tcplb ctl events`: what has changed, and what changes."""

from __future__ import annotations

import json
from contextlib import aclosing

import click

from tcplb.cli.ctl.connection import Connection, format_option
from tcplb.cli.ctl.lost import say_lost
from tcplb.cli.ctl.output import echo_json
from tcplb.cli.ctl.words import clock
from tcplb.control.admin.client import AdminClient
from tcplb.control.admin.client_errors import read
from tcplb.control.admin.models import Events, EventView
from tcplb.loadgen.reports.figures import printable


@click.command()
@click.option("--follow", is_flag=True, help="Go on with each that happens, until ^C.")
@click.option(
    "--after",
    type=click.IntRange(0, 2**53),
    metavar="N",
    default=0,
    help="Only those after the one with this number.",
)
@format_option
@click.pass_obj
def events(connection: Connection, *, follow: bool, after: int) -> None:
    """Show what has changed: health, reloads, what operators did, workers.

    The balancer remembers the latest ones. With --follow, each is printed as it happens, and a
    connection that is lost goes on where it was; as JSON, that is one line an event.
    """
    if follow:
        connection.run(lambda client: _follow(connection, client, after))
        return
    text = connection.ask("GET", "events", query={"after": after})
    if connection.json:
        echo_json(json.loads(text))
        return
    for event in read(Events, text).events:
        click.echo(_line(event))


async def _follow(connection: Connection, client: AdminClient, after: int) -> None:
    known = read(Events, await client.ask("GET", ("events",), query={"after": after})).events
    for event in known:
        _show(connection, event)
    last = str(known[-1].number if known else after)
    stream = client.stream(("events", "stream"), last=last, on_lost=say_lost)
    async with aclosing(stream) as messages:
        async for message in messages:
            _show(connection, read(EventView, message.data))


def _show(connection: Connection, event: EventView) -> None:
    if connection.json:
        echo_json(event.model_dump(mode="json"), line=True)
    else:
        click.echo(_line(event))


def _line(event: EventView) -> str:
    return f"{event.number:>5}  {clock(event.at)}  {event.kind:<8}  {printable(event.text)}"

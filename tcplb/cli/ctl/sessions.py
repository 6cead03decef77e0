"""`tcplb ctl sessions` and `close`: the connections that are open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click

from tcplb.cli.ctl.connection import Connection, format_option
from tcplb.cli.ctl.names import complete_backend, complete_pool, listener_option, split_backend
from tcplb.cli.ctl.output import confirm, echo_json, echo_lines, is_asked, note, table, yes_option
from tcplb.cli.ctl.words import age, octets
from tcplb.control.admin.client import AdminClient
from tcplb.control.admin.client_errors import AdminError, read
from tcplb.control.admin.models import Closed, Sessions, SessionView
from tcplb.loadgen.reports.figures import NOTHING, count, printable

LIMIT = 100
_PAGE = 1000
"""The most that the API gives at once."""
_LONGEST_KEY = 40

_SESSION = (
    *("id", "client", "listener", "backend", "phase", "age", "sent", "received"),
    "key",
)


@click.command()
@listener_option
@click.option("--pool", metavar="NAME", shell_complete=complete_pool, help="Only of this pool.")
@click.option(
    "--backend", metavar="NAME", shell_complete=complete_backend, help="Only on this backend."
)
@click.option("--client", metavar="ADDRESS", help="Only of this IP address or network.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    default=LIMIT,
    show_default=True,
    help="Show so many, the oldest first.",
)
@click.option("--all", "everything", is_flag=True, help="Show them all.")
@format_option
@click.pass_obj
def sessions(connection: Connection, /, *, limit: int, everything: bool, **wanted: Any) -> None:
    """Show the open connections, the oldest first."""
    most = None if everything else limit
    found = connection.run(lambda client: _pages(client, split_backend(wanted), most))
    if connection.json:
        echo_json(found.model_dump(mode="json"))
    else:
        echo_lines(_lines(found.sessions))
        if found.next is not None:
            shown, total = count(len(found.sessions)), count(found.total)
            note(f"{shown} of {total} are shown; --limit N or --all shows more")
        for worker in found.unanswered:
            note(f"worker {worker} has not answered in time: its connections are missing")


async def _pages(client: AdminClient, wanted: dict[str, Any], limit: int | None) -> Sessions:
    """Return as many as are wanted, page by page."""
    found: list[SessionView] = []
    unanswered: set[int] = set()
    cursor: str | None = None
    while True:
        size = _PAGE if limit is None else min(_PAGE, limit - len(found))
        query = {**wanted, "cursor": cursor, "limit": size}
        page = read(Sessions, await client.ask("GET", ("sessions",), query=query))
        found += page.sessions
        unanswered.update(page.unanswered)
        if page.next is None or len(found) == limit:
            return page.model_copy(update={"sessions": found, "unanswered": sorted(unanswered)})
        if page.next == cursor:
            raise AdminError("the balancer gives the same page of sessions again and again")
        cursor = page.next


def _lines(sessions: Iterable[SessionView]) -> Iterator[str]:
    yield from table([_SESSION, *map(_row, sessions)], right=("age", "sent", "received"))


def _row(session: SessionView) -> tuple[str, ...]:
    return (
        session.id,
        session.client,
        session.listener,
        f"{session.pool}/{session.backend or NOTHING}",
        session.phase,
        age(session.age_s),
        octets(session.bytes_up),
        octets(session.bytes_down),
        printable(session.key, _LONGEST_KEY),
    )


@click.command()
@click.argument("session", metavar="ID")
@yes_option
@format_option
@click.pass_obj
def close(connection: Connection, session: str, *, yes: bool) -> None:
    """Close an open connection with a reset; ID is the one that `sessions` shows."""
    if is_asked(yes=yes):
        confirm(f"Close {session} with a reset?")
    text = connection.ask("DELETE", "sessions", session)
    if connection.json:
        echo_json(read(Closed, text).model_dump(mode="json"))
    else:
        click.echo(f"{printable(read(Closed, text).id)} is being closed")

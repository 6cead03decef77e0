"""`tcplb ctl drain`: no new connections for a backend, and the wait for those that it has."""

from __future__ import annotations

import asyncio
import sys
import time

import click

from tcplb.cli.ctl.applied import applied_lines
from tcplb.cli.ctl.backend_report import drain_in_words
from tcplb.cli.ctl.connection import Connection, duration, format_option
from tcplb.cli.ctl.names import backend_argument, find_backend, pool_option
from tcplb.cli.ctl.output import echo_json, note, show
from tcplb.config.units import format_duration
from tcplb.control.admin.client import DELAYS, AdminClient
from tcplb.control.admin.client_errors import AdminError, RefusedError, UnreachableError, read
from tcplb.control.admin.models import Applied, BackendView
from tcplb.loadgen.reports.figures import printable

POLL_TIME = 0.5
"""Seconds between two looks at how far it is."""
_NOT_FOUND = 404
_CLEAR_LINE = "\r\x1b[K"


@click.command()
@backend_argument
@pool_option
@click.option(
    "--timeout",
    "limit",
    type=duration,
    metavar="DURATION",
    help="Close what is still open after this time. [default: never]",
)
@click.option("--wait", is_flag=True, help="Wait until it has no connections any more.")
@format_option
@click.pass_obj
def drain(
    connection: Connection, backend: str, pool: str | None, *, limit: float | None, wait: bool
) -> None:
    """Give a backend no new connections, and let those that it has come to their end.

    ^C while waiting only ends the waiting: the drain goes on, until `enable`.

    \b
    Example:
      tcplb ctl drain web-3 --timeout 5m --wait && ssh web-3 reboot
    """  # noqa: D301 - click wants the character, not a backslash and a b
    found = find_backend(connection, backend, pool)
    path = ("backends", found.pool, found.name)
    body = {"state": "draining", "timeout": None if limit is None else format_duration(limit)}
    text = connection.ask("PUT", *path, "state", body=body)
    if not wait:
        show(connection, text, Applied, lambda applied: applied_lines(applied, "it drains already"))
        return
    progress = _Progress(f"{found.pool}/{found.name}")
    try:
        drained = connection.run(lambda client: _until_drained(client, path, progress))
    except KeyboardInterrupt:
        progress.end("not waited for any longer; the drain goes on")
        raise
    except AdminError:
        progress.end("")
        raise
    progress.end("")
    if connection.json:
        echo_json(drained.model_dump(mode="json"))
    else:
        click.echo(f"{progress.name} is drained")


async def _until_drained(
    client: AdminClient, path: tuple[str, ...], progress: _Progress
) -> BackendView:
    """Return the backend when it has no connection left. Raises AdminError if that cannot be."""
    while True:
        backend = await _look(client, path, progress)
        if backend.drain is None:
            raise AdminError(f"{progress.name} does not drain any more: it is {backend.mode}")
        if not backend.drain.sessions_left:
            return backend
        progress.show(drain_in_words(backend.drain, now=time.time()))
        await asyncio.sleep(POLL_TIME)


async def _look(client: AdminClient, path: tuple[str, ...], progress: _Progress) -> BackendView:
    """Return how the backend is; a balancer that does not answer is asked a few times more."""
    for delay in (*DELAYS, None):
        try:
            return read(BackendView, await client.ask("GET", path))
        except RefusedError as error:
            if error.status == _NOT_FOUND:
                raise AdminError(f"{progress.name} is not there any more") from error
            raise
        except UnreachableError as error:
            if delay is None:
                raise
            progress.show(f"{error}; trying again")
            await asyncio.sleep(delay)
    raise AssertionError("the last attempt returns or raises")


class _Progress:
    """Says how far a drain is, on standard error: in one line of a terminal, or a line for news."""

    def __init__(self, name: str) -> None:
        self.name = printable(name)
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._shown = ""

    def show(self, text: str) -> None:
        line = f"{self.name}: {printable(text)}"
        if self._terminal:
            click.echo(f"{_CLEAR_LINE}{line}", nl=False, err=True)
        elif line != self._shown:
            note(line)
        self._shown = line

    def end(self, text: str) -> None:
        """Leave the line, with `text` as the last word if there is any."""
        if self._terminal and self._shown:
            click.echo(_CLEAR_LINE, nl=False, err=True)
        if text:
            note(f"{self.name}: {text}")

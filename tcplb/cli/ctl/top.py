"""`tcplb ctl top`: the backends at work, second by second."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass

import click

from tcplb.cli.ctl.connection import Connection, duration, format_option
from tcplb.cli.ctl.lost import say_lost
from tcplb.cli.ctl.output import echo_json, echo_lines
from tcplb.cli.ctl.top_frame import Frame, Names, Sort, to_frame
from tcplb.cli.ctl.top_live import LiveTop
from tcplb.cli.ctl.top_text import as_json, lines
from tcplb.control.admin.client import AdminClient, OnLost
from tcplb.control.admin.client_errors import UnreachableError, read
from tcplb.control.admin.models import Backends, BackendView, Stats, Status
from tcplb.demo.output import Output

VIEW_TIME = 2.0
"""Seconds that the states of the backends hold; their figures come each second."""
_SLACK = 0.1
"""Seconds that a message of each second may come too early."""

_SORTS = {
    "connections": Sort.CONNECTIONS,
    "rate": Sort.RATE,
    "errors": Sort.ERRORS,
    "bytes": Sort.BYTES,
}


@click.command()
@click.option(
    "--interval",
    type=duration,
    metavar="DURATION",
    default="1s",
    show_default=True,
    help="Time between two frames, at least a second.",
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many frames.")
@click.option(
    "--sort",
    type=click.Choice(list(_SORTS)),
    default="connections",
    show_default=True,
    help="What backends are sorted by, to begin with.",
)
@format_option
@click.pass_obj
def top(connection: Connection, *, interval: float, count: int | None, sort: str) -> None:
    """Watch the backends: connections, rates, errors, bytes, and the time of a connect.

    On a terminal, a live view: c, r, e and b sort by connections, rate, errors and bytes, q quits.
    Elsewhere each frame is plain text, or a line of JSON.
    """
    options = _Options(interval, count, _SORTS[sort])
    keyboard = None if connection.json else _keyboard()
    if keyboard is None:
        connection.run(lambda client: _plain(client, options, as_lines=connection.json))
    else:
        where = connection.address.text
        connection.run(lambda client: _live(client, where, keyboard, options))


@dataclass(frozen=True, slots=True)
class _Options:
    """What the user wishes."""

    interval: float
    count: int | None
    sort: Sort


async def _plain(client: AdminClient, options: _Options, *, as_lines: bool) -> None:
    """Print the frames one after the other, as text or as lines of JSON."""

    def show(frame: Frame) -> None:
        if as_lines:
            echo_json(as_json(frame, options.sort), line=True)
        else:
            echo_lines([*lines(frame, options.sort), ""])

    frames = _frames(client, options.interval, say_lost)
    await _show_all(frames, show, options.count, first=False)


def _keyboard() -> int | None:
    """Return the descriptor to read keys from; None if there is no terminal to draw on."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    if sys.stdin is None or os.environ.get("TERM", "dumb") in ("", "dumb", "unknown"):
        return None
    terminals = sys.stdin.isatty() and sys.stdout.isatty()
    return sys.stdin.fileno() if terminals else None


async def _frames(
    client: AdminClient, interval: float, on_lost: OnLost
) -> AsyncGenerator[Frame, None]:
    """Yield a frame an interval; the first one has no rates."""
    before: Stats | None = None
    state = _State(client)
    async with aclosing(client.stream(("stats", "stream"), on_lost=on_lost)) as messages:
        async for message in messages:
            now = read(Stats, message.data)
            early = before is not None and 0 <= now.at - before.at < interval - _SLACK
            if early:
                continue
            await state.refresh()
            yield to_frame(before, now, state.status, state.views)
            before = now


class _State:
    """What is asked for now and then, beside the stream of figures."""

    def __init__(self, client: AdminClient) -> None:
        self._client = client
        self._asked_at: float | None = None
        self.views: dict[Names, BackendView] = {}
        self.status: Status

    async def refresh(self) -> None:
        now = time.monotonic()
        if self._asked_at is not None and now < self._asked_at + VIEW_TIME:
            return
        try:
            self.status = read(Status, await self._client.ask("GET", ("status",)))
            every = read(Backends, await self._client.ask("GET", ("backends",))).backends
        except UnreachableError:
            if self._asked_at is None:
                raise
            return  # the stream notices, too, and is patient
        self.views = {(each.pool, each.name): each for each in every}
        self._asked_at = now


async def _show_all(
    frames: AsyncGenerator[Frame, None],
    show: Callable[[Frame], None],
    count: int | None,
    *,
    first: bool,
) -> None:
    """Show so many frames; the `first`, which has no rates yet, only if it is wanted."""
    shown = 0
    async with aclosing(frames):
        async for frame in frames:
            if not first:
                first = True
                continue
            show(frame)
            shown += 1
            if shown == count:
                return


# -- on a terminal ----------------------------------------------------------------------------


async def _live(
    client: AdminClient,
    where: str,
    keyboard: int,
    options: _Options,
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)

    def on_error() -> None:
        with contextlib.suppress(RuntimeError):  # it was all over before that was noticed
            loop.call_soon_threadsafe(stop.set)

    output = Output(sys.stdout.fileno(), on_error=on_error)
    try:
        with LiveTop(output, keyboard, where=where, sort=options.sort, stop=stop.set) as view:
            frames = _frames(client, options.interval, view.lost)
            await _until(stop, _show_all(frames, view.show, options.count, first=True))
    finally:
        output.close()
    # EIO is a terminal that was closed, which is a way to end it.
    if output.error is not None and output.error.errno != errno.EIO:
        raise output.error


async def _until(stop: asyncio.Event, work: Coroutine[object, object, None]) -> None:
    """Run `work` to its end or until `stop` is set. Raises what it raises."""
    task = asyncio.create_task(work, name="ctl top: frames")
    task.add_done_callback(lambda _: stop.set())
    try:
        await stop.wait()
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()

"""`tcplb demo`: echo backends, the balancer and a light load, to watch and to play with."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import sys

import click

from tcplb.cli.exits import Exit
from tcplb.demo.controls import STRATEGIES
from tcplb.demo.show import Options, show
from tcplb.testbed.errors import BedError

LARGEST_PORT = 65535
MOST_BACKENDS = 9
"""There is a key for each."""

_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


def _parse_ports(_ctx: click.Context, _param: click.Parameter, text: str) -> tuple[int, ...]:
    ports: list[int] = []
    for part in text.split(","):
        match = _PORTS.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last <= LARGEST_PORT:
            raise click.BadParameter(f"{text!r} is not a list of ports; write it like 8081-8084")
        ports += range(first, last + 1)
    wished = [port for port in ports if port]
    if len(ports) > MOST_BACKENDS or len(set(wished)) < len(wished):
        raise click.BadParameter(f"{text!r} must be {MOST_BACKENDS} ports at most, each once")
    return tuple(ports)


@click.command()
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    default="hash",
    show_default=True,
    help="How a backend is chosen, to begin with.",
)
@click.option("--plain", is_flag=True, help="Print plain lines, on a terminal too.")
@click.option("--no-load", is_flag=True, help="Begin without the light load.")
@click.option(
    "--port",
    type=click.IntRange(0, LARGEST_PORT),
    default=9090,
    show_default=True,
    help="Port of the balancer; 0 is any free one.",
)
@click.option(
    "--backend-ports",
    callback=_parse_ports,
    metavar="PORTS",
    default="8081-8084",
    show_default=True,
    help="Ports of the backends: 8081-8084 or 8081,8083; 0 is any free one.",
)
@click.pass_context
def demo(
    ctx: click.Context,
    *,
    strategy: str,
    plain: bool,
    no_load: bool,
    port: int,
    backend_ports: tuple[int, ...],
) -> None:
    """Run echo backends and the balancer under a light load, and watch them.

    On a terminal there is a live view, with keys to kill and revive backends and to switch the
    strategy; elsewhere, plain lines. A port that is in use is replaced by a free one. Nothing is
    left running at the end.

    \b
    Exit codes: 0 ended by q, ^C, SIGTERM or SIGHUP; 1 the balancer ended by itself.
    """  # noqa: D301 - click wants the character, not a backslash and a b
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    options = Options(
        port=port,
        backend_ports=backend_ports,
        strategy=strategy,
        load=not no_load,
        output=sys.stdout.fileno(),
        keyboard=None if plain else _keyboard(),
    )
    try:
        asyncio.run(show(options))
    except BedError as error:
        click.echo(f"tcplb: {error}", err=True)
        ctx.exit(Exit.FAILURE)


def _keyboard() -> int | None:
    """Return the descriptor to read keys from; None if there is no terminal to draw on."""
    if sys.stdin is None or os.environ.get("TERM", "dumb") in ("", "dumb", "unknown"):
        return None
    terminals = sys.stdin.isatty() and sys.stdout.isatty()
    return sys.stdin.fileno() if terminals else None

"""The command `echo-backends`, also `python -m echo_backends`."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from typing import TypeVar

import click

from echo_backends.faults import (
    Faults,
    format_greeting,
    parse_duration,
    parse_greeting,
    parse_size,
)
from echo_backends.processes import raise_descriptor_limit, serve, supervise

MAX_PORTS = 256
"""Each is a process: `80-8084` is a slip of the finger, not a wish."""

Value = TypeVar("Value")

_PORTS = re.compile(r"(\d+)(?:-(\d+))?")

_EXAMPLES = """
\b
Examples:
  echo-backends                                  8081 to 8084, four processes
  curl http://127.0.0.1:8081/                    ask one of them
  echo-backends --ports 8081 --delay 50ms        a slow one
  echo-backends --ports 8081 --reset-after 1KiB  one that resets half-way
  echo-backends --ports 2525 --greeting '220 hello\\r\\n'

\b
Exit codes: 0 stopped by a signal, 1 every backend died, 2 usage, 4 cannot listen.
"""


def parse_ports(text: str) -> list[int]:
    """The ports of `8081`, `8081-8084`, `8081,8083` or a mixture. Raises ValueError."""
    ports: list[int] = []
    for part in text.split(","):
        match = _PORTS.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{text!r} is not a list of ports; write it like 8081-8084,9000")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last or last > 65535:
            raise ValueError(f"{part.strip()!r} is not a range of ports between 0 and 65535")
        ports += range(first, last + 1)
    if len(ports) > MAX_PORTS:
        raise ValueError(f"{text!r} is {len(ports)} ports; each is a process, {MAX_PORTS} at most")
    given = [port for port in ports if port]
    if len(set(given)) < len(given):
        raise ValueError(f"{text!r} has a port twice")
    return ports


def _written(
    parse: Callable[[str], Value],
) -> Callable[[click.Context, click.Parameter, str | None], Value | None]:
    """Convert an option by `parse`, and show its own words if the option is wrong."""

    def convert(_ctx: click.Context, _param: click.Parameter, text: str | None) -> Value | None:
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return convert


def child_options(host: str, faults: Faults) -> list[str]:
    """The command line that says the same again, for a child."""
    options = [f"--host={host}"]
    if faults.delay:
        options.append(f"--delay={round(faults.delay * 1000, 3)}ms")
    if faults.refuse:
        options.append("--refuse")
    if faults.reset_after is not None:
        options.append(f"--reset-after={faults.reset_after}")
    if faults.close_after is not None:
        options.append(f"--close-after={faults.close_after}")
    if faults.stall:
        options.append("--stall")
    if faults.greeting:
        options.append(f"--greeting={format_greeting(faults.greeting)}")
    return options


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - it does without
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


@click.command(
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--ports",
    metavar="PORTS",
    callback=_written(parse_ports),
    default="8081-8084",
    show_default=True,
    help="Ports to listen on, a process each: 8081, 8081-8084, 8081,8083 or a mixture. "
    "0 is any free port.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--delay",
    metavar="DURATION",
    callback=_written(parse_duration),
    default="0s",
    help="Wait before every answer or echo: 50ms, 2s.",
)
@click.option("--refuse", is_flag=True, help="Bind but do not listen: connects are refused.")
@click.option(
    "--reset-after",
    metavar="BYTES",
    callback=_written(parse_size),
    help="Reset a connection after so many bytes sent back: 0 (on accept), 1000, 64KiB.",
)
@click.option(
    "--close-after",
    metavar="BYTES",
    callback=_written(parse_size),
    help="The same, but close it in order.",
)
@click.option("--stall", is_flag=True, help="Accept connections, then read and send nothing.")
@click.option(
    "--greeting",
    metavar="TEXT",
    callback=_written(parse_greeting),
    default="",
    help=r"Speak first: send this text, in which \r\n and the like are decoded.",
)
@click.option("--parent-pipe", type=int, hidden=True)
def main(
    *,
    ports: list[int],
    host: str,
    delay: float,
    refuse: bool,
    reset_after: int | None,
    close_after: int | None,
    stall: bool,
    greeting: bytes,
    parent_pipe: int | None,
) -> None:
    """Run demo and test servers, one process a port.

    An HTTP request gets a line that names the port, and POST /echo gets its body back. With every
    HTTP answer a server names itself in X-Backend. Anything that is not HTTP is echoed byte for
    byte. Each server prints its address and process id when it listens, so `kill PID` takes down
    exactly that one; ^C ends them all.
    """
    try:
        faults = Faults(
            delay=delay,
            refuse=refuse,
            reset_after=reset_after,
            close_after=close_after,
            stall=stall,
            greeting=greeting,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    host = host.removeprefix("[").removesuffix("]")
    if len(ports) > 1:
        sys.exit(asyncio.run(supervise(host, ports, child_options(host, faults))))
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        sys.exit(runner.run(serve(host, ports[0], faults, parent_pipe)))

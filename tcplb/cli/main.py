"""The `tcplb` command: finds the subcommand, and turns errors into a message and an exit code."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
from pathlib import Path
from typing import Any, cast

import click

from tcplb import __version__
from tcplb.cli.exits import Exit, exit_for
from tcplb.errors import ConfigError, TcplbError

_MODULES = {
    name: f"tcplb.cli.{name}"
    for name in (
        "bench",
        "check",
        "completion",
        "config",
        "ctl",
        "demo",
        "doctor",
        "explain",
        "plan",
        "serve",
        "simulate",
    )
}
"""Where each command is. Its module is imported when it is asked for: none needs all of them, and
`tcplb ctl health` runs twice a minute in a container."""


class _Commands(click.Group):
    """A group whose commands may raise any `TcplbError`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        command = getattr(importlib.import_module(_MODULES[cmd_name]), cmd_name)
        return cast(click.Command, command)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TcplbError as error:
            prefix = "" if isinstance(error, ConfigError) else "tcplb: "
            click.echo(f"{prefix}{error}", err=True)
            ctx.exit(exit_for(error))
        except OSError as error:  # of our own output: a full disk, say
            if error.errno == errno.EPIPE:
                raise  # click ends quietly when the reader has left
            click.echo(f"tcplb: {error.strerror or error}", err=True)
            _give_up_stdout()
            ctx.exit(Exit.FAILURE)


def _give_up_stdout() -> None:
    """Let the interpreter's last flush of what could not be written go nowhere."""
    with Path(os.devnull).open("w") as nowhere, contextlib.suppress(OSError, ValueError):
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tcplb")
def main() -> None:
    """A Layer-4 TCP load balancer that you can read, script and debug.

    \b
    Try it:
      echo-backends --ports 8081-8084       four servers to balance over
      tcplb serve --strategy hash           listens on 127.0.0.1:9090
      curl http://localhost:9090/hello      the same path, the same backend

    Exit codes: 0 fine, 1 failure while running, 2 usage, 3 bad config, 4 cannot bind,
    5 drain timed out, 99 a load-test gate was missed.
    """  # noqa: D301 - click wants the character, not a backslash and a b

"""The group of the `tcplb ctl` commands: where the balancer is, and what its errors exit with."""

from __future__ import annotations

import importlib
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import click

from tcplb.cli.ctl.connection import (
    ADMIN_VARIABLES,
    FORMATS,
    INTERRUPTED,
    TOKEN_FILE_VARIABLE,
    Connection,
    duration,
)
from tcplb.config.admin import DEFAULT_ADMIN_BIND
from tcplb.control.admin.client_errors import RefusedError

_MODULES = {
    "add": "changes",
    "backend": "show",
    "backends": "show",
    "close": "sessions",
    "config": "configuration",
    "disable": "changes",
    "drain": "drain",
    "enable": "changes",
    "events": "events",
    "explain": "explain",
    "health": "health",
    "pools": "show",
    "reload": "configuration",
    "remove": "changes",
    "sessions": "sessions",
    "status": "show",
    "tap": "tap",
    "top": "top",
    "weight": "changes",
}
"""Commands by the module that has them, as a function of the same name."""

_OUR_FAULT = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.REQUEST_URI_TOO_LONG,
)
"""Refusals that mean that the command line was wrong."""


class _Commands(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        module = importlib.import_module(f"tcplb.cli.ctl.{_MODULES[cmd_name]}")
        return cast(click.Command, getattr(module, cmd_name))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RefusedError as error:
            if error.status not in _OUR_FAULT:
                raise
            raise click.UsageError(str(error)) from error
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


@click.group(cls=_Commands)
@click.option(
    "--admin",
    metavar="ADDRESS",
    envvar=ADMIN_VARIABLES,
    default=DEFAULT_ADMIN_BIND,
    show_default=True,
    show_envvar=True,
    help="Where the admin port is: HOST:PORT, http(s)://HOST:PORT or unix:/PATH.",
)
@click.option(
    "--token-file",
    metavar="PATH",
    envvar=TOKEN_FILE_VARIABLE,
    show_envvar=True,
    help="The file with the token that changes need. [default: where the balancer puts it]",
)
@click.option(
    "--ca",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Trust the certificates in this PEM file, and speak TLS.",
)
@click.option("--insecure", is_flag=True, help="Speak TLS, and trust any certificate.")
@click.option(
    "--timeout",
    type=duration,
    metavar="DURATION",
    help="How long to wait for an answer. [default: 10s; health: 3s; reload: 1m]",
)
@click.option(
    "--format",
    "output",
    type=FORMATS,
    default="text",
    show_default=True,
    help="How the answer is written; each command takes it, too.",
)
@click.pass_context
def ctl(ctx: click.Context, /, **options: Any) -> None:
    """Ask and change a balancer that is running, by its admin port.

    Reading is free on the same machine; changes need the token, which is found by itself if you may
    read the balancer's files, and else comes from TCPLB_ADMIN_TOKEN or --token-file. A BACKEND is
    its name, or POOL/NAME if several pools have one of that name. Questions are asked only on a
    terminal.

    \b
    Examples:
      tcplb ctl status
      tcplb ctl drain web-3 --timeout 5m --wait
      tcplb ctl --admin unix:/run/tcplb/admin.sock top
      tcplb ctl backends --format json | jq -r '.backends[] | select(.usable | not) | .name'

    Exit codes: 0 fine, 1 failed or answered no, 2 usage, 3 bad config at a reload, 130 for ^C.
    """  # noqa: D301 - click wants the character, not a backslash and a b
    ctx.obj = Connection(**options)

"""The balancer that a `tcplb ctl` command talks to, as the options and the environment say."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from tcplb.config.units import parse_duration
from tcplb.control.admin.client import AdminClient, Query
from tcplb.control.admin.client_address import AdminAddress, parse_admin_address
from tcplb.control.admin.client_errors import Token
from tcplb.control.admin.token import VARIABLE, find_token, token_file_name

ADMIN_VARIABLES = ["TCPLB_CTL_ADMIN", "TCPLB_ADMIN_BIND"]
TOKEN_FILE_VARIABLE = "TCPLB_ADMIN_TOKEN_FILE"  # noqa: S105 - the name of a variable
FORMATS = click.Choice(["text", "json"])
INTERRUPTED = 130
"""What shells say of a command that ^C has ended."""
REPLY_TIME = 10.0
"""Seconds that an answer may take, if nothing else is said."""

_ADMIN_HINT = "--admin (TCPLB_CTL_ADMIN, TCPLB_ADMIN_BIND)"
_LARGEST_FILE = 10_000

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Connection:
    """How the balancer is reached, and how answers are written. Nothing is read before its use."""

    admin: str
    token_file: str | None = None
    ca: Path | None = None
    insecure: bool = False
    timeout: float | None = None
    output: str = "text"

    @property
    def json(self) -> bool:
        """Whether answers are written as JSON."""
        return self.output == "json"

    @property
    def address(self) -> AdminAddress:
        """Where the admin port is. Raises click.BadParameter."""
        tls = self.ca is not None or self.insecure
        try:
            address = parse_admin_address(self.admin, tls=tls)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=_ADMIN_HINT) from error
        if tls and not address.tls:
            raise click.UsageError(f"--ca and --insecure are for TLS, and {self.admin} is without")
        return address

    def run(
        self, work: Callable[[AdminClient], Awaitable[Result]], *, timeout: float = REPLY_TIME
    ) -> Result:
        """Return what `work` makes of a client; `timeout` (seconds) holds if none was given."""
        address = self.address
        client = AdminClient(
            address,
            _token(self.token_file, address, os.environ),
            timeout=timeout if self.timeout is None else self.timeout,
            tls=self._tls() if address.tls else None,
        )

        async def with_client() -> Result:
            async with client:
                return await work(client)

        return asyncio.run(with_client())

    def ask(
        self,
        method: str,
        *path: str,
        query: Query | None = None,
        body: Mapping[str, Any] | None = None,
        timeout: float = REPLY_TIME,
    ) -> str:
        """Return the JSON of one answer of the API; see `AdminClient.ask`."""
        return self.run(
            lambda client: client.ask(method, path, query=query, body=body), timeout=timeout
        )

    def _tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except ssl.SSLError as error:
            message = f"{click.format_filename(str(self.ca))} has no certificates in it"
            raise click.BadParameter(message, param_hint="--ca") from error
        except OSError as error:
            message = f"cannot read {click.format_filename(str(self.ca))}: {error.strerror}"
            raise click.BadParameter(message, param_hint="--ca") from error
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class _Duration(click.ParamType[float]):
    """A duration as in the config, more than nothing, as seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            seconds = parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not seconds:
            self.fail("must be more than nothing", param, ctx)
        return seconds


duration = _Duration()


def _set_output(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None and isinstance(ctx.obj, Connection):
        ctx.obj = replace(ctx.obj, output=value)


format_option = click.option(
    "--format",
    type=FORMATS,
    expose_value=False,
    callback=_set_output,
    help="How the answer is written.",
)
"""For a command; the group has one as well."""


# -- the token --------------------------------------------------------------------------------


def _token(file: str | None, address: AdminAddress, environ: Mapping[str, str]) -> Token:
    """Return the token, or where it was looked for: not all that one asks needs it."""
    given = environ.get(VARIABLE)
    # A flag that was typed is meant more than any variable.
    if file not in (None, "auto") and not (given and environ.get(TOKEN_FILE_VARIABLE) == file):
        return _token_of_file(str(file))
    if given:
        return Token(_checked(given, VARIABLE), VARIABLE)
    for bind in address.binds:
        found = find_token(bind, environ)
        if found is not None:
            return Token(found, f"the file {token_file_name(bind)}")
    name = token_file_name(address.binds[0])
    return Token(None, f"neither {VARIABLE} nor --token-file is set, and no {name} can be read")


def _token_of_file(name: str) -> Token:
    shown = click.format_filename(name)
    try:
        with Path(name).open(encoding="ascii", errors="replace") as file:
            text = file.read(_LARGEST_FILE)
    except OSError as error:
        message = f"cannot read {shown}: {error.strerror}"
        raise click.BadParameter(message, param_hint="--token-file") from error
    return Token(_checked(text.strip(), shown), shown)


def _checked(token: str, source: str) -> str:
    if not token or not all("!" <= character <= "~" for character in token):
        raise click.UsageError(f"there is no token in {source}")
    return token

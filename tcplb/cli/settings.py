"""The settings flags that `serve` and `config show` share: one table, flags and environment.

Every flag is also an environment variable without the command's name: ``--idle-timeout`` is
``TCPLB_IDLE_TIMEOUT``. Click knows which of the two it took; we pass that on as the origin.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tcplb.cli.flag import (
    ENVIRONMENT_PREFIX,
    Flag,
    RuleType,
    SettingsOption,
    read_by,
    right_by,
)
from tcplb.config.check_fields import to_http_path
from tcplb.config.models import DEFAULT_BACKENDS, DEFAULT_BIND
from tcplb.config.settings import Override, Settings, load, parse_backend
from tcplb.config.units import parse_duration
from tcplb.policy.names import HashKey, StrategyName

_TOKEN_VARIABLE = f"{ENVIRONMENT_PREFIX}ADMIN_TOKEN"


class SettingsCommand(click.Command):
    """A command whose help has the settings flags under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those without a heading first."""
        groups: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(parameter, "heading", "Options"), []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


_DURATION = "DURATION"

_FLAGS = {
    "Listeners": (
        Flag(
            "--listen",
            "listeners",
            "Address to listen on; repeatable. IPv6 in brackets: [::1]:9090.",
            metavar="HOST:PORT",
            multiple=True,
            default_in_words=DEFAULT_BIND,
        ),
        Flag(
            "--engine",
            "listeners.*.engine",
            "How bytes are moved; splice: in the kernel, for plain TCP on Linux.",
            type=click.Choice(["auto", "streams", "splice"]),
        ),
        Flag(
            "--connect-timeout",
            "listeners.*.connect_timeout",
            "Time for one backend to accept a connection.",
            metavar=_DURATION,
        ),
        Flag(
            "--idle-timeout",
            "listeners.*.idle_timeout",
            "Close a connection on which nothing moved for so long.",
            metavar=_DURATION,
        ),
        Flag(
            "--half-close-timeout",
            "listeners.*.half_close_timeout",
            "The same, once one side has ended its direction.",
            metavar=_DURATION,
        ),
        Flag(
            "--first-line-timeout",
            "listeners.*.first_line_timeout",
            "Time for the rest of a first line, if the hash key needs it.",
            metavar=_DURATION,
        ),
        Flag(
            "--max-new-per-second",
            "listeners.*.max_new_per_second",
            "New connections a second; 0 for no limit.",
            metavar="N",
        ),
        Flag(
            "--access",
            "listeners.*.access",
            'Who may connect: "allow 10.0.0.0/8" or "deny all"; repeatable, the first that matches '
            "decides. In the variable, with commas between.",
            type=RuleType(),
            metavar="RULE",
            multiple=True,
            default_in_words="everybody may",
        ),
    ),
    "Backends, and how one is chosen": (
        Flag(
            "--backend",
            "backends",
            "Backend to send connections to; repeatable. Options: weight=N, max_connections=N, "
            "tier=N, backup, state=draining.",
            type=read_by(parse_backend),
            metavar="[NAME=]HOST:PORT[,OPTION]...",
            multiple=True,
            default_in_words=", ".join(DEFAULT_BACKENDS),
        ),
        Flag(
            "--strategy",
            "pools.*.strategy",
            f"How a backend is chosen: {', '.join(StrategyName)}, or a function of your own.",
            metavar="NAME|MODULE:FUNCTION",
            words=list(StrategyName),
        ),
        Flag(
            "--hash-key",
            "pools.*.hash_key",
            "What is hashed: the client's address, or its network (client/24, client/64); the "
            "request, which is the target of the HTTP request line; the first-line; the "
            "destination; or auto: the request where there is one, else the client.",
            metavar="KEY",
            words=list(HashKey),
        ),
        Flag(
            "--hash-balance-factor",
            "pools.*.hash_balance_factor",
            "The most load of a backend when hashing, in percent of the average; 0 for no bound.",
            metavar="PERCENT",
        ),
        Flag(
            "--slow-start",
            "pools.*.slow_start",
            "Time in which a backend that has recovered gets its full share again.",
            metavar=_DURATION,
        ),
        Flag(
            "--panic-threshold",
            "pools.*.panic_threshold",
            "With fewer usable backends than this, use all of them.",
            metavar="PERCENT",
        ),
    ),
    "Backends that fail or are full": (
        Flag(
            "--check",
            "pools.*.check.type",
            "Check all backends actively, in this way.",
            type=click.Choice(["tcp", "http", "send-expect"]),
            default_in_words="no checks, but those of the file",
        ),
        Flag(
            "--check-interval",
            "pools.*.check.interval",
            "Time from one check to the next, where there are checks.",
            type=right_by(parse_duration),
            needs_table=True,
            metavar=_DURATION,
        ),
        Flag(
            "--check-path",
            "pools.*.check.path",
            "What HTTP checks ask for, where there are any.",
            type=right_by(to_http_path),
            metavar="PATH",
            needs_table=True,
        ),
        Flag(
            "--eject-failures",
            "pools.*.eject.failures",
            "Failed connects in a row that eject a backend; 0 for never.",
            metavar="N",
        ),
        Flag(
            "--attempts",
            "pools.*.retry.attempts",
            "The most backends that one connection tries; 0 for all.",
            metavar="N",
        ),
        Flag(
            "--queue-size",
            "pools.*.queue.size",
            "Connections that wait while all backends are full; 0 for none.",
            metavar="N",
        ),
        Flag(
            "--queue-timeout",
            "pools.*.queue.timeout",
            "Turn a connection away that has waited so long.",
            metavar=_DURATION,
        ),
    ),
    "The whole process": (
        Flag(
            "--workers",
            "workers",
            "Processes that move bytes; auto: one a core.",
            metavar="N|auto",
        ),
        Flag(
            "--max-connections",
            "limits.max_connections",
            "Connections at once; past it, clients wait in the backlog.",
            metavar="N|auto",
        ),
        Flag(
            "--drain-timeout",
            "limits.drain_timeout",
            "Time for open connections to end after SIGTERM or ^C.",
            metavar=_DURATION,
        ),
        Flag(
            "--access-log",
            "log.access",
            "One line a connection: a file, - for stdout, or none.",
            metavar="PATH|-|none",
        ),
        Flag(
            "--log-format",
            "log.format",
            "Form of both logs.",
            type=click.Choice(["text", "json"]),
        ),
        Flag(
            "--log-level",
            "log.level",
            "Least severe message on stderr.",
            type=click.Choice(["debug", "info", "warning", "error"]),
        ),
    ),
    "Operation": (
        Flag(
            "--admin-bind",
            "admin.bind",
            "Where the API, metrics and dashboard are: HOST:PORT, unix:/PATH or none.",
            metavar="ADDRESS",
        ),
        Flag(
            "--admin-token-file",
            "admin.token_file",
            f"File with the token for changes by the API; or else that is in {_TOKEN_VARIABLE}.",
            metavar="PATH|auto",
        ),
        Flag(
            "--watch",
            "watch",
            "Reload the config file by itself when it changes.",
            type=bool,
            metavar="true|false",
            default_in_words="false",
        ),
    ),
}
"""The flags by their headings in the help."""


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the settings flags to a command, which then calls `load_settings`."""
    for heading, flags in reversed(_FLAGS.items()):
        for flag in reversed(flags):
            command = flag.option(heading)(command)
    return click.option(
        "--config",
        "config_file",
        cls=SettingsOption,
        type=click.Path(path_type=Path),
        envvar=f"{ENVIRONMENT_PREFIX}CONFIG",
        help="Settings file (TOML). Flags and TCPLB_… variables override it.",
    )(command)


def load_settings(ctx: click.Context) -> Settings:
    """Merge the flags and variables of `ctx` over its file. Raises ConfigError."""
    return load(ctx.params["config_file"], overrides_of(ctx))


def overrides_of(ctx: click.Context) -> list[Override]:
    """Return what the flags and variables of `ctx` say."""
    overrides = _secrets()
    for flag in (flag for flags in _FLAGS.values() for flag in flags):
        value = ctx.params[flag.parameter]
        if value is None or value == ():
            continue
        from_variable = ctx.get_parameter_source(flag.parameter) is ParameterSource.ENVIRONMENT
        written = list(value) if flag.multiple else value
        origin = flag.variable if from_variable else flag.name
        overrides.append(Override(flag.path, written, origin, flag.needs_table))
    return overrides


def _secrets() -> list[Override]:
    # There is no flag for it: other users see the command lines of all processes.
    token = os.environ.get(_TOKEN_VARIABLE)
    return [Override(("admin", "token"), token, _TOKEN_VARIABLE)] if token else []

"""The settings flags that `serve` and `config show` share: one table, flags and environment.

Every flag is also an environment variable without the command's name: ``--idle-timeout`` is
``TCPLB_IDLE_TIMEOUT``. Click knows which of the two it took; we pass that on as the origin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tcplb.config.models import DEFAULT_BACKENDS, DEFAULT_BIND, Config
from tcplb.config.settings import Override, Settings, load, parse_backend
from tcplb.policy.names import HashKey, StrategyName

ENVIRONMENT_PREFIX = "TCPLB_"


class _Option(click.Option):
    """An option whose error names the variable, if that is where the value is from."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        if ctx and ctx.get_parameter_source(self.name or "") is ParameterSource.ENVIRONMENT:
            return str(self.envvar)
        return super().get_error_hint(ctx)


def _backend(text: str) -> dict[str, object]:
    try:
        return parse_backend(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _count_or_auto(text: str) -> int | str:
    # Whatever is no number stays text: the settings' own check has the words for it.
    return int(text) if text.isdecimal() else text


@dataclass(frozen=True, slots=True)
class _Flag:
    """A flag and the setting that it overrides."""

    name: str
    path: tuple[str, ...]
    help: str
    type: Any = str
    metavar: str | None = None
    multiple: bool = False

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.parameter.upper()

    @property
    def parameter(self) -> str:
        return self.name.removeprefix("--").replace("-", "_")

    def option(self) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        return click.option(
            self.name,
            self.parameter,
            cls=_Option,
            type=self.type,
            metavar=self.metavar,
            multiple=self.multiple,
            envvar=self.variable,
            help=f"{self.help} [default: {self.default}]",
        )

    @property
    def default(self) -> str:
        """The default in words, from the models: the one place that has it."""
        if self.path == ("listeners",):
            return DEFAULT_BIND
        if self.path == ("backends",):
            return ", ".join(DEFAULT_BACKENDS)
        value: Any = Config().model_dump(mode="json")
        for key in self.path:
            value = value[0] if key == "*" and isinstance(value, list) else _only(value, key)
        return str(value)


def _only(table: dict[str, Any], key: str) -> Any:
    return next(iter(table.values())) if key == "*" else table[key]


_EVERY_LISTENER = ("listeners", "*")
_EVERY_POOL = ("pools", "*")
_DURATION = "DURATION"

_FLAGS = (
    _Flag(
        "--listen",
        ("listeners",),
        "Address to listen on; repeatable. IPv6 in brackets: [::1]:9090.",
        metavar="HOST:PORT",
        multiple=True,
    ),
    _Flag(
        "--backend",
        ("backends",),
        "Backend to send connections to; repeatable.",
        type=_backend,
        metavar="[NAME=]HOST:PORT[,weight=N][,max_connections=N]",
        multiple=True,
    ),
    _Flag(
        "--strategy",
        (*_EVERY_POOL, "strategy"),
        "How a backend is chosen.",
        type=click.Choice([name.value for name in StrategyName]),
    ),
    _Flag(
        "--hash-key",
        (*_EVERY_POOL, "hash_key"),
        "What `hash` hashes: the client's address, the target of the HTTP request line, or the "
        "latter where there is one.",
        type=click.Choice([key.value for key in HashKey]),
    ),
    _Flag(
        "--engine",
        (*_EVERY_LISTENER, "engine"),
        "How bytes are moved; splice: in the kernel, for plain TCP on Linux.",
        type=click.Choice(["auto", "streams", "splice"]),
    ),
    _Flag(
        "--workers",
        ("workers",),
        "Processes that move bytes; auto: one a core.",
        type=_count_or_auto,
        metavar="N|auto",
    ),
    _Flag(
        "--connect-timeout",
        (*_EVERY_LISTENER, "connect_timeout"),
        "Time for one backend to accept a connection.",
        metavar=_DURATION,
    ),
    _Flag(
        "--idle-timeout",
        (*_EVERY_LISTENER, "idle_timeout"),
        "Close a connection on which nothing moved for so long.",
        metavar=_DURATION,
    ),
    _Flag(
        "--half-close-timeout",
        (*_EVERY_LISTENER, "half_close_timeout"),
        "The same, once one side has ended its direction.",
        metavar=_DURATION,
    ),
    _Flag(
        "--first-line-timeout",
        (*_EVERY_LISTENER, "first_line_timeout"),
        "Time for the rest of an HTTP request line, if the hash key needs it.",
        metavar=_DURATION,
    ),
    _Flag(
        "--max-connections",
        ("limits", "max_connections"),
        "Connections at once; past it, clients wait in the backlog.",
        type=_count_or_auto,
        metavar="N|auto",
    ),
    _Flag(
        "--drain-timeout",
        ("limits", "drain_timeout"),
        "Time for open connections to end after SIGTERM or ^C.",
        metavar=_DURATION,
    ),
    _Flag(
        "--access-log",
        ("log", "access"),
        "One line a connection: a file, - for stdout, or none.",
        metavar="PATH|-|none",
    ),
    _Flag(
        "--log-format",
        ("log", "format"),
        "Form of both logs.",
        type=click.Choice(["text", "json"]),
    ),
    _Flag(
        "--log-level",
        ("log", "level"),
        "Least severe message on stderr.",
        type=click.Choice(["debug", "info", "warning", "error"]),
    ),
)


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the settings flags to a command, which then calls `load_settings`."""
    for flag in reversed(_FLAGS):
        command = flag.option()(command)
    return click.option(
        "--config",
        "config_file",
        cls=_Option,
        type=click.Path(path_type=Path),
        envvar=f"{ENVIRONMENT_PREFIX}CONFIG",
        help="Settings file (TOML). Flags and TCPLB_… variables override it.",
    )(command)


def load_settings(ctx: click.Context) -> Settings:
    """Merge the flags and variables of `ctx` over its file. Raises ConfigError."""
    overrides = []
    for flag in _FLAGS:
        value = ctx.params[flag.parameter]
        if value is None or value == ():
            continue
        from_variable = ctx.get_parameter_source(flag.parameter) is ParameterSource.ENVIRONMENT
        written = list(value) if flag.multiple else value
        overrides.append(
            Override(flag.path, written, flag.variable if from_variable else flag.name)
        )
    return load(ctx.params["config_file"], overrides)

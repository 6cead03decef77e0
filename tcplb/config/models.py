"""What the settings are: frozen models with every default, limit and description.

They take the form that a user writes (``{"drain_timeout": "5s"}``), and code may give seconds as
well; what is read off them is parsed (``config.limits.drain_timeout == 5.0``, in seconds), and
``model_dump(mode="json")`` gives the written form back. `settings.load` is the way in for files
and flags: it also checks what no single model can see, such as a listener's pool that is missing.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tcplb.config.admin import AdminConfig
from tcplb.config.checks import CheckConfig
from tcplb.config.fields import Duration, LogPath, MaxConnections, Name, Switch, Workers
from tcplb.config.listeners import DEFAULT_BIND, DEFAULT_NAME, ListenerConfig, PerClientConfig
from tcplb.config.pools import BackendConfig, EjectConfig, PoolConfig, QueueConfig, RetryConfig
from tcplb.config.table import Table

__all__ = [
    "DEFAULT_BACKENDS",
    "DEFAULT_BIND",
    "DEFAULT_NAME",
    "AdminConfig",
    "BackendConfig",
    "CheckConfig",
    "Config",
    "EjectConfig",
    "LimitsConfig",
    "ListenerConfig",
    "LogConfig",
    "PerClientConfig",
    "PoolConfig",
    "QueueConfig",
    "RetryConfig",
]

DEFAULT_BACKENDS = ("127.0.0.1:8081", "127.0.0.1:8082", "127.0.0.1:8083", "127.0.0.1:8084")


class LimitsConfig(Table):
    """Bounds on what the whole process takes on."""

    max_connections: MaxConnections = Field(
        default="auto",
        description='Clients served at once; more wait in the backlog. "auto" follows the limit on '
        "open files (ulimit -n).",
    )
    drain_timeout: Duration = Field(
        default=30.0, description="How long open connections may finish in when told to stop."
    )
    upgrade_timeout: Duration = Field(
        default=3600.0,
        description="How long connections of the old process may go on after an upgrade in place.",
    )


class LogConfig(Table):
    """What is logged, where and how."""

    access: LogPath = Field(
        default="-",
        description='Where a line for each connection goes: a path, "-" for standard output, or '
        '"none".',
    )
    format: Literal["text", "json"] = Field(
        default="text", description="How log lines are written, the access log's too."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe messages to log on standard error."
    )


def _default_pools(_: dict[str, Any]) -> dict[str, PoolConfig]:
    backends = tuple(BackendConfig(address=address) for address in DEFAULT_BACKENDS)
    return {DEFAULT_NAME: PoolConfig(backends=backends)}


class Config(Table):
    """All settings of one tcplb."""

    workers: Workers = Field(
        default=1,
        description='Processes that move bytes; "auto" for one a core that tcplb may use.',
    )
    watch: Switch = Field(
        default=False, description="Reload the config file by itself when it changes."
    )
    listeners: tuple[ListenerConfig, ...] = Field(
        default=(ListenerConfig(),),
        min_length=1,
        description="Where to accept connections. If not given: one, to the only pool.",
    )
    pools: dict[Name, PoolConfig] = Field(
        default_factory=_default_pools,
        min_length=1,
        description='The pools by name. If not given: "default", with 127.0.0.1:8081 to 8084.',
    )
    limits: LimitsConfig = Field(
        default_factory=LimitsConfig,
        description="How much the whole process takes on, and how it stops.",
    )
    log: LogConfig = Field(
        default_factory=LogConfig, description="The access log, and the messages on standard error."
    )
    admin: AdminConfig = Field(
        default_factory=AdminConfig,
        description="The admin port: API, metrics, health, and the dashboard.",
    )

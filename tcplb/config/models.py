"""What the settings are: frozen models with every default, limit and description.

They take the form that a user writes (``{"drain_timeout": "5s"}``), and code may give seconds as
well; what is read off them is parsed (``config.limits.drain_timeout == 5.0``, in seconds), and
``model_dump(mode="json")`` gives the written form back. `settings.load` is the way in for files
and flags: it also checks what no single model can see, such as a listener's pool that is missing.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tcplb.config.fields import (
    BackendAddress,
    BindAddress,
    Duration,
    LogPath,
    MaxConnections,
    Name,
    PositiveDuration,
    Workers,
)
from tcplb.config.units import parse_address
from tcplb.policy.backend import MAX_WEIGHT
from tcplb.policy.names import HashKey, StrategyName

DEFAULT_NAME = "default"
DEFAULT_BIND = "127.0.0.1:9090"
DEFAULT_BACKENDS = ("127.0.0.1:8081", "127.0.0.1:8082", "127.0.0.1:8083", "127.0.0.1:8084")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BackendConfig(_Model):
    """One server that connections may be sent to."""

    address: BackendAddress = Field(description="HOST:PORT; an IPv6 address stands in brackets.")
    # After `address`, which it is made from.
    name: Name = Field(
        default_factory=lambda given: given["address"],
        description="What logs and metrics call it, and what places it on the hash ring, so keep "
        "it the same when the address changes. The address, if not given.",
    )
    weight: int = Field(
        default=1,
        strict=True,
        ge=0,
        le=MAX_WEIGHT,
        description="Its share of new connections, relative to the others' weights; 0 for none.",
    )
    max_connections: int = Field(
        default=0,
        strict=True,
        ge=0,
        description="Connections it has at once, over all workers; more go to the others, or are "
        "turned away. 0 for no limit.",
    )

    @property
    def host(self) -> str:
        """The host name or IP address, without brackets."""
        return parse_address(self.address)[0]

    @property
    def port(self) -> int:
        """The TCP port, 1 to 65535."""
        return parse_address(self.address)[1]


class EjectConfig(_Model):
    """When a backend that refuses connections is left out, and for how long."""

    failures: int = Field(
        default=3, strict=True, ge=1, description="Failed connects in a row that eject a backend."
    )
    base_time: PositiveDuration = Field(default=5.0, description="How long the first ejection is.")
    step: Duration = Field(
        default=5.0, description="How much longer each further ejection in a row is."
    )
    max_time: PositiveDuration = Field(
        default=60.0, description="Ejections grow no longer than this, give or take the jitter."
    )
    jitter: float = Field(
        default=0.1,
        strict=True,
        ge=0,
        le=1,
        description="How much an ejection varies at random, as a part of its length: 0.1 is 10 %.",
    )


class PoolConfig(_Model):
    """Backends that do the same work, and how one of them is chosen."""

    strategy: StrategyName = Field(
        default=StrategyName.ROUND_ROBIN, description="How a backend is chosen for a connection."
    )
    hash_key: HashKey = Field(
        default=HashKey.AUTO,
        description='What strategy "hash" hashes: the "client" address, the target of the HTTP '
        '"request", or "auto", which is the request where there is one and else the client.',
    )
    eject: EjectConfig = Field(
        default_factory=EjectConfig, description="When a failing backend is left out for a while."
    )
    backends: tuple[BackendConfig, ...] = Field(
        min_length=1, description="The servers, in the order that round robin takes them."
    )


class ListenerConfig(_Model):
    """An address to accept connections on, the pool they go to, and their time-outs."""

    name: Name = Field(
        default=DEFAULT_NAME,
        description='What logs and metrics call it. If not given: "default", or the bind address '
        "when there are several listeners.",
    )
    bind: BindAddress = Field(
        default=DEFAULT_BIND,
        description="HOST:PORT to listen on; :PORT for all addresses; port 0 for any free port.",
    )
    pool: Name = Field(
        default=DEFAULT_NAME,
        description="The pool that gets its connections. If not given: the only pool there is, or "
        'else the one called "default".',
    )
    engine: Literal["auto", "streams", "splice"] = Field(
        default="auto",
        description='How bytes are moved: "streams" works anywhere; "splice" moves them in the '
        'kernel, for plain TCP on Linux. "auto" takes splice where it can.',
    )
    connect_timeout: PositiveDuration = Field(
        default=3.0, description="The longest wait for one backend to accept a connection."
    )
    connect_deadline: PositiveDuration = Field(
        default=15.0,
        description="The longest that all attempts to find a backend may take together.",
    )
    first_line_timeout: PositiveDuration = Field(
        default=5.0,
        description="The longest wait for the rest of an HTTP request line that has begun.",
    )
    idle_timeout: PositiveDuration = Field(
        default=3600.0,
        description="A connection with no byte either way for this long is closed.",
    )
    half_close_timeout: PositiveDuration = Field(
        default=30.0,
        description="The same, once one side has said that it will send no more.",
    )

    @property
    def host(self) -> str:
        """The host name or IP address, without brackets; empty for all addresses."""
        return parse_address(self.bind, bind=True)[0]

    @property
    def port(self) -> int:
        """The TCP port, 0 to 65535; 0 lets the system pick a free one."""
        return parse_address(self.bind, bind=True)[1]


class LimitsConfig(_Model):
    """Bounds on what the whole process takes on."""

    max_connections: MaxConnections = Field(
        default="auto",
        description='Clients served at once; more wait in the backlog. "auto" follows the limit on '
        "open files (ulimit -n).",
    )
    drain_timeout: Duration = Field(
        default=30.0, description="How long open connections may finish in when told to stop."
    )


class LogConfig(_Model):
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


class Config(_Model):
    """All settings of one tcplb."""

    workers: Workers = Field(
        default=1,
        description='Processes that move bytes; "auto" for one a core that tcplb may use.',
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

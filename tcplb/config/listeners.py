"""The settings of a listener: where it listens, for whom, and how long it waits."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tcplb.config.address_fields import AccessRuleText, BindAddress
from tcplb.config.fields import Count, Name, PositiveCount, PositiveDuration
from tcplb.config.table import Table
from tcplb.config.units import parse_address

DEFAULT_NAME = "default"
DEFAULT_BIND = "127.0.0.1:9090"


class PerClientConfig(Table):
    """How fast one client may connect, or one network of clients."""

    max_new_per_second: Count = Field(
        default=0,
        description="New connections a second, in each worker; more are refused. 0 for no limit.",
    )
    burst: Count = Field(
        default=0,
        description="How many may come at once; 0 for those of one second.",
    )
    prefix: int = Field(
        default=32, strict=True, ge=1, le=32, description="Leading bits that make an IPv4 client."
    )
    prefix_v6: int = Field(
        default=64, strict=True, ge=1, le=128, description="Leading bits that make an IPv6 client."
    )
    table_size: PositiveCount = Field(
        default=100_000,
        description="Clients that are remembered; beyond it, the one not seen for longest goes.",
    )


class ListenerConfig(Table):
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
    max_connections: Count = Field(
        default=0,
        description="Clients that it serves at once, over all workers; more wait in the backlog. "
        "0 for no limit but that of `limits`.",
    )
    max_new_per_second: Count = Field(
        default=0,
        description="New connections a second, over all workers; more wait in the backlog. "
        "0 for no limit.",
    )
    burst: Count = Field(
        default=0,
        description="How many of them may come at once; 0 for those of one second.",
    )
    per_client: PerClientConfig = Field(
        default_factory=PerClientConfig, description="How fast one client may connect."
    )
    access: tuple[AccessRuleText, ...] = Field(
        default=(),
        description='Who may connect: "allow 10.0.0.0/8", "deny all"; the first rule that matches '
        "decides, and whom none matches may.",
    )

    @property
    def host(self) -> str:
        """The host name or IP address, without brackets; empty for all addresses."""
        return parse_address(self.bind, bind=True)[0]

    @property
    def port(self) -> int:
        """The TCP port, 0 to 65535; 0 lets the system pick a free one."""
        return parse_address(self.bind, bind=True)[1]

"""The settings of a pool, its backends, and what it does when they fail or are full."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tcplb.config.address_fields import BackendAddress
from tcplb.config.checks import CheckConfig
from tcplb.config.fields import (
    Count,
    Duration,
    Name,
    Part,
    Percent,
    Port,
    PositiveCount,
    PositiveDuration,
    Switch,
)
from tcplb.config.pool_fields import BalanceFactor, HashKeyText, Strategy, TableSize
from tcplb.config.table import Table
from tcplb.config.units import parse_address
from tcplb.policy.backend import MAX_TIER, MAX_WEIGHT
from tcplb.policy.names import HashKey, StrategyName


class BackendConfig(Table):
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
    max_connections: Count = Field(
        default=0,
        description="Connections it has at once, over all workers; more go to the others, or wait "
        "in the queue. 0 for no limit.",
    )
    tier: int = Field(
        default=0,
        strict=True,
        ge=0,
        le=MAX_TIER,
        description="Its priority: a tier is used only while no backend of a lower one is usable.",
    )
    backup: Switch = Field(
        default=False,
        description="The same as tier = 1: used only while no other is usable.",
    )
    state: Literal["enabled", "draining", "disabled"] = Field(
        default="enabled",
        description='What it is at start: a "draining" or "disabled" one gets no new connections, '
        "and a disabled one is not checked either.",
    )
    check_port: Port = Field(
        default=0,
        description="The port that its active checks go to; 0 for the pool's `check.port`.",
    )

    @property
    def priority(self) -> int:
        """The tier that counts: a backup is of tier 1."""
        return 1 if self.backup else self.tier

    @property
    def host(self) -> str:
        """The host name or IP address, without brackets."""
        return parse_address(self.address)[0]

    @property
    def port(self) -> int:
        """The TCP port, 1 to 65535."""
        return parse_address(self.address)[1]


class EjectConfig(Table):
    """When a backend that refuses connections is left out, and for how long."""

    failures: Count = Field(
        default=3,
        description="Failures in a row that eject a backend; 0 for never by this rule.",
    )
    failure_rate: Part = Field(
        default=0.0,
        description="The part of its connects that fail within the window and so eject a backend: "
        "0.5 is half of them; 0 for never by this rule.",
    )
    window: PositiveDuration = Field(
        default=10.0, description="How far back the failure rate looks."
    )
    min_connects: PositiveCount = Field(
        default=20,
        description="Connects that there must be in the window before the rate says anything.",
    )
    first_byte: Switch = Field(
        default=False,
        description="Also count it as a failure when a backend closes or resets a connection "
        "before its first byte. Never what the client has ended.",
    )
    max_ejected_percent: Percent = Field(
        default=50,
        description="The most of a pool's backends that are ejected at once, in percent; one may "
        "always be where there are two or more, and the last usable one never is.",
    )
    base_time: PositiveDuration = Field(default=5.0, description="How long the first ejection is.")
    step: Duration = Field(
        default=5.0, description="How much longer each further ejection in a row is."
    )
    max_time: PositiveDuration = Field(
        default=60.0, description="Ejections grow no longer than this, give or take the jitter."
    )
    jitter: Part = Field(
        default=0.1,
        description="How much an ejection varies at random, as a part of its length: 0.1 is 10 %.",
    )


class RetryConfig(Table):
    """What happens when a connect fails: how often another backend is tried.

    How long is for the listener to say: `connect_timeout` for each try, `connect_deadline` for all.
    """

    attempts: Count = Field(
        default=0,
        description="The most backends that one connection tries, the first included; 0 for all.",
    )
    budget_percent: Percent = Field(
        default=20,
        description="The most connections that may be trying again at once, in percent of the open "
        "ones of this worker; more wait for their turn.",
    )
    budget_min: PositiveCount = Field(
        default=3,
        description="How many may be trying again at once, however few are open.",
    )


class QueueConfig(Table):
    """Where connections wait while every usable backend is at its `max_connections`."""

    size: Count = Field(
        default=1000,
        description="The most that wait, in each worker; more are turned away at once. 0: none "
        "waits.",
    )
    timeout: PositiveDuration = Field(
        default=5.0, description="Who has waited so long is turned away."
    )
    abort_on_close: Switch = Field(
        default=True,
        description="A client that has ended its direction while it waits has left. Set it to "
        "false if clients send all they have, end, and then wait for the answer.",
    )


class PoolConfig(Table):
    """Backends that do the same work, and how one of them is chosen."""

    strategy: Strategy = Field(
        default=StrategyName.ROUND_ROBIN.value,
        description="How a backend is chosen for a connection: a strategy's name, or "
        "module:function for one of your own.",
    )
    hash_key: HashKeyText = Field(
        default=HashKey.AUTO.value,
        description='What the strategies "hash", "maglev" and "rendezvous" hash: the "client" '
        'address (or its network: "client/24", "client/64"), the target of the HTTP "request", the '
        '"first-line", the "destination", or "auto": the request where there is one, else the '
        "client.",
    )
    hash_balance_factor: BalanceFactor = Field(
        default=0,
        description="Bounded load for these strategies: a backend with more than this percentage "
        "of the average load passes its keys on to the next; 0 for no bound.",
    )
    maglev_table_size: TableSize = Field(
        default=65537, description="Slots of the Maglev table, a prime number."
    )
    ewma_decay: PositiveDuration = Field(
        default=10.0, description="How fast peak-ewma forgets a latency."
    )
    slow_start: Duration = Field(
        default=0.0,
        description="After a recovery, how long a backend's weight grows from 10 % to the whole.",
    )
    panic_threshold: Percent = Field(
        default=0,
        description="When fewer than this percentage of a tier's backends are usable, all of them "
        "are used. With 0 only when none is usable anywhere.",
    )
    eject: EjectConfig = Field(
        default_factory=EjectConfig, description="When a failing backend is left out for a while."
    )
    check: CheckConfig | None = Field(
        default=None, description="Active checks. Without this table there are none."
    )
    retry: RetryConfig = Field(
        default_factory=RetryConfig, description="How often a connect that failed is retried."
    )
    queue: QueueConfig = Field(
        default_factory=QueueConfig, description="Where connections wait for a backend with room."
    )
    backends: tuple[BackendConfig, ...] = Field(
        min_length=1, description="The servers, in the order that round robin takes them."
    )

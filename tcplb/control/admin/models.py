"""What the admin API says and takes: one model for each body, and so its schema.

Times named ``…_at`` are seconds since the epoch, durations ``…_s`` are seconds, ages too. Counts
are totals since the start unless they are named ``active`` or ``waiting``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

Words = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]
Mode = Literal["enabled", "draining", "disabled"]


def _to_whole(number: object) -> object:
    # In JSON, 2.0 is a whole number too.
    return int(number) if isinstance(number, float) and number.is_integer() else number


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


# -- status -----------------------------------------------------------------------------------


class WorkerView(_Answer):
    """One worker process."""

    number: Count
    """From 1, as in the log."""
    pid: int | None
    state: Literal["starting", "ready", "draining", "waiting to be restarted"]
    active: Count
    heartbeat_age_s: Seconds | None
    loop_lag_s: Seconds
    """The longest that its event loop was late within the last seconds."""
    open_files: Count
    max_open_files: Count


class ListenerView(_Answer):
    """One listener."""

    name: str
    bind: str
    """As the config says it."""
    addresses: list[str]
    """What that means on this machine."""
    pool: str
    active: Count
    accepted: Count
    refused: dict[str, Count]
    """By reason."""
    max_connections: Count
    """0 for no limit of its own."""


class ReloadsView(_Answer):
    """How the reloads went, runtime changes included."""

    succeeded: Count
    failed: Count
    last_at: float | None
    last_error: str | None
    """What was wrong with the last one; None if it was in order."""


class Status(_Answer):
    """The balancer as a whole."""

    version: str
    pid: int
    state: Literal["starting", "serving", "draining"]
    ready: bool
    """Whether there is a usable backend in every pool."""
    started_at: float
    uptime_s: Seconds
    config_file: str | None
    runtime_changes: Count
    active: Count
    max_connections: Count
    reloads: ReloadsView
    workers: list[WorkerView]
    listeners: list[ListenerView]


# -- pools and backends -----------------------------------------------------------------------


class DrainView(_Answer):
    """How far the drain of a backend has come."""

    since_at: float
    sessions_left: Count
    oldest_age_s: Seconds | None
    """None as long as it is not known, and when there is none."""
    deadline_at: float | None
    """When those that are left are closed; None for never."""


class BackendView(_Answer):
    """One backend of one pool."""

    pool: str
    name: str
    address: str
    weight: Count
    weight_share: Annotated[float, Field(ge=0, le=1)]
    """Its part of its tier's weight."""
    tier: Count
    max_connections: Count
    mode: Mode
    checked: Literal["up", "down", "not checked"]
    passive: Literal["in", "ejected", "on trial"]
    usable: bool
    why: str
    """What speaks against it and since when, or that nothing does; a sentence."""
    since_at: float | None
    """When the last change of its state was."""
    ejected_until_at: float | None
    active: Count
    connections: Count
    """Dials that connected."""
    connect_failures: Count
    ejections: Count
    bytes_up: Count
    bytes_down: Count
    connect_seconds: Seconds
    """The sum of the times of all dials that connected."""
    changes: list[str]
    """Runtime changes that hold for it, in words."""
    drain: DrainView | None


class PoolView(_Answer):
    """One pool and its backends."""

    name: str
    strategy: str
    keyed: bool
    """Whether the strategy places keys."""
    usable: Count
    active: Count
    waiting: Count
    """Connections in its queue."""
    fingerprint: str
    """Of how keys are placed: two balancers with the same one agree on every key."""
    shares: dict[str, float] | None
    """The part of all keys that each backend has; None if the strategy places none."""
    backends: list[BackendView]


class Pools(_Answer):
    """All pools."""

    pools: list[PoolView]


class Backends(_Answer):
    """The backends of all pools, or of one."""

    backends: list[BackendView]


class StateChange(_Request):
    """Enable, drain or disable a backend."""

    state: Mode
    timeout: str | None = Field(
        default=None,
        max_length=40,
        description="For draining: how long open connections may live on, as in 5m; null for as "
        "long as they like.",
    )


class WeightChange(_Request):
    """Give a backend another weight."""

    weight: Annotated[int, Field(ge=0, le=256), BeforeValidator(_to_whole)]


class NewBackend(_Request):
    """Add a backend to a pool."""

    backend: Words = Field(
        description="[NAME=]HOST:PORT[,weight=N][,max_connections=N][,tier=N][,backup][,state=…]"
    )


# -- changes and reloads ----------------------------------------------------------------------


class ChangeView(_Answer):
    """One difference between two configurations."""

    kind: Literal["added", "removed", "changed"]
    path: str
    before: Any
    after: Any
    needs_restart: str | None
    """Why it takes a restart to come into force; None if it does not."""
    text: str
    """All of it in one line."""


class ReloadRequest(_Request):
    """Reload the config file."""

    dry_run: bool = Field(default=False, description="Only say what would change.")
    discard_changes: bool = Field(default=False, description="Forget the runtime changes.")


class ProblemView(_Answer):
    """One thing that is wrong with a configuration."""

    where: str
    path: str
    message: str


class Applied(_Answer):
    """What a reload or a runtime change has changed, or would."""

    applied: bool
    """False for a dry run."""
    changes: list[ChangeView]
    notes: list[str]
    """Runtime changes that were dropped, pools that take no connections any more, and workers that
    do not go by it (yet), in words."""


class ConfigView(_Answer):
    """The configuration in force."""

    file: str | None
    loaded_at: float
    config: dict[str, Any]
    """Every setting, in the form of the file."""
    origins: dict[str, str]
    """Where the settings come from that are not the default."""


class ConfigDifference(_Answer):
    """The runtime changes, against the file."""

    changes: list[ChangeView]
    runtime_changes: list[str]


class Saved(_Answer):
    """The runtime changes are in the file now."""

    file: str
    changes: list[str]


# -- sessions ---------------------------------------------------------------------------------


class SessionView(_Answer):
    """One open connection."""

    id: str
    """Worker and number: 1-4711."""
    client: str
    listener: str
    pool: str
    backend: str | None
    phase: Literal["reading", "queued", "connecting", "data"]
    age_s: Seconds
    bytes_up: Count
    bytes_down: Count
    key: str


class Sessions(_Answer):
    """A page of the open connections, the oldest first."""

    sessions: list[SessionView]
    total: Count
    """How many match, on all pages."""
    next: str | None
    """The `cursor` of the next page; None if this is the last one."""
    unanswered: list[Count] = []
    """Workers that have not answered in time: theirs are missing."""


class Closed(_Answer):
    """The session is being closed."""

    id: str


# -- events, statistics, connections as they end ------------------------------------------------


class EventView(_Answer):
    """Something that changed."""

    number: Count
    at: float
    kind: Literal["health", "operator", "reload", "worker", "server"]
    pool: str | None
    backend: str | None
    text: str


class Events(_Answer):
    """The latest events, the oldest first."""

    events: list[EventView]


class BackendStats(_Answer):
    """The figures of one backend that change all the time; see `BackendView`."""

    pool: str
    name: str
    active: Count
    connections: Count
    connect_failures: Count
    bytes_up: Count
    bytes_down: Count
    connect_seconds: Seconds


class Stats(_Answer):
    """The figures of a moment."""

    at: float
    active: Count
    accepted: Count
    turned_away: Count
    waiting: Count
    retries: Count
    backends: list[BackendStats]


class Ended(_Answer):
    """A connection that has ended, as the access log has it in its JSON form."""

    worker: Count
    record: dict[str, Any]
    lost: Count = 0
    """How many ended between the one before and this one that the stream does not have: they came
    faster than they were read. It may be too many if there is a filter."""


class Explanation(_Answer):
    """Which backend a key gets now, and why."""

    pool: str
    key: str
    key_from: str
    chosen: str | None
    stage: str
    trial: bool
    candidates: list[CandidateView]


class CandidateView(_Answer):
    """A backend as a candidate for a key."""

    backend: str
    tier: Count
    rank: Count
    verdict: str
    active: Count


# -- what went wrong ----------------------------------------------------------------------------


class Problem(_Answer):
    """Why a request was refused (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    problems: list[ProblemView] = []
    """What is wrong with the configuration, if that is it."""

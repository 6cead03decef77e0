"""The routes of the API, in one table, and what each of them does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from tcplb.config.changes import (
    AddBackend,
    RemoveBackend,
    SetState,
    SetWeight,
    backend_from_text,
)
from tcplb.config.units import parse_duration
from tcplb.config.wording import closest, quote
from tcplb.control.admin.control import Control, NotFoundError, SessionFilter
from tcplb.control.admin.models import (
    Applied,
    Backends,
    BackendView,
    Closed,
    ConfigDifference,
    ConfigView,
    Ended,
    Events,
    EventView,
    Explanation,
    NewBackend,
    Pools,
    PoolView,
    ReloadRequest,
    Saved,
    Sessions,
    StateChange,
    Stats,
    Status,
    WeightChange,
)
from tcplb.control.admin.streams import StreamQuery, TapQuery, ended, events, stats
from tcplb.control.admin.table import Call, Network, Query, Route, Stream, Text

MOST_SESSIONS = 1000

_Line = Annotated[str, StringConstraints(max_length=8000)]


class PoolQuery(Query):
    """Of which pool; of all if it is not said."""

    pool: Text | None = None


class SessionsQuery(Query):
    """Which sessions, and which page of them."""

    listener: Text | None = None
    pool: Text | None = None
    backend: Text | None = None
    client: Network | None = Field(default=None, description="An IP address or a network.")
    cursor: Text | None = Field(default=None, description="What `next` of the last page said.")
    limit: Annotated[int, Field(ge=1, le=MOST_SESSIONS)] = 100


class EventsQuery(Query):
    """From where on."""

    after: Annotated[int, Field(ge=0, le=2**53)] = 0


class ExplainQuery(Query):
    """The connection that is thought of."""

    pool: Text | None = None
    client: Text | None = Field(default=None, description="An IP address.")
    first_line: _Line | None = None


def _status(control: Control, _: Call) -> BaseModel:
    return control.status()


def _pools(control: Control, _: Call) -> BaseModel:
    return Pools(pools=control.pools())


def _pool(control: Control, call: Call) -> BaseModel:
    return _find_pool(control, call.path["pool"])


def _backends(control: Control, call: Call) -> BaseModel:
    pool = call.query.pool
    pools = control.pools() if pool is None else [_find_pool(control, pool)]
    return Backends(backends=[backend for each in pools for backend in each.backends])


def _backend(control: Control, call: Call) -> BaseModel:
    return _find_backend(_find_pool(control, call.path["pool"]), call.path["backend"])


async def _sessions(control: Control, call: Call) -> BaseModel:
    asked = call.query
    wanted = SessionFilter(asked.listener, asked.pool, asked.backend, asked.client)
    return await control.sessions(wanted, asked.cursor, asked.limit)


def _events(control: Control, call: Call) -> BaseModel:
    return Events(events=control.events(call.query.after))


def _stats(control: Control, _: Call) -> BaseModel:
    return control.stats()


def _config(control: Control, _: Call) -> BaseModel:
    return control.config()


def _config_difference(control: Control, _: Call) -> BaseModel:
    return control.config_difference()


def _explain(control: Control, call: Call) -> BaseModel:
    asked = call.query
    return control.explain(asked.pool, asked.client, asked.first_line)


async def _set_state(control: Control, call: Call) -> BaseModel:
    change = SetState(call.path["pool"], call.path["backend"], call.body.state)
    timeout = None if call.body.timeout is None else parse_duration(call.body.timeout)
    return await control.change(change, timeout=timeout)


async def _set_weight(control: Control, call: Call) -> BaseModel:
    return await control.change(
        SetWeight(call.path["pool"], call.path["backend"], call.body.weight)
    )


async def _add_backend(control: Control, call: Call) -> BaseModel:
    return await control.change(AddBackend(call.path["pool"], backend_from_text(call.body.backend)))


async def _remove_backend(control: Control, call: Call) -> BaseModel:
    return await control.change(RemoveBackend(call.path["pool"], call.path["backend"]))


async def _close_session(control: Control, call: Call) -> BaseModel:
    await control.close_session(call.path["session"])
    return Closed(id=call.path["session"])


async def _reload(control: Control, call: Call) -> BaseModel:
    return await control.reload(
        dry_run=call.body.dry_run, discard_changes=call.body.discard_changes
    )


async def _save(control: Control, _: Call) -> BaseModel:
    return await control.save()


def _find_pool(control: Control, name: str) -> PoolView:
    pools = {pool.name: pool for pool in control.pools()}
    if name not in pools:
        raise NotFoundError(_nothing("pool", name, pools))
    return pools[name]


def _find_backend(pool: PoolView, name: str) -> BackendView:
    backends = {backend.name: backend for backend in pool.backends}
    if name not in backends:
        raise NotFoundError(_nothing(f"backend in pool {quote(pool.name)} called", name, backends))
    return backends[name]


def _nothing(what: str, name: str, known: Iterable[str]) -> str:
    guess = closest(name, known)
    hint = f"; did you mean {quote(guess)}?" if guess else ""
    return f"there is no {what} {quote(name)}{hint}"


_BACKEND = "/backends/{pool}/{backend}"

ROUTES = (
    Route("status", "GET", "/status", "The balancer as a whole.", Status, _status),
    Route("pools", "GET", "/pools", "All pools with their backends.", Pools, _pools),
    Route("pool", "GET", "/pools/{pool}", "One pool with its backends.", PoolView, _pool),
    Route(
        "backends",
        "GET",
        "/backends",
        "The backends of all pools, or of one.",
        Backends,
        _backends,
        query=PoolQuery,
        errors=(404,),
    ),
    Route("backend", "GET", _BACKEND, "One backend.", BackendView, _backend),
    Route(
        "sessions",
        "GET",
        "/sessions",
        "Open connections, the oldest first, in pages.",
        Sessions,
        _sessions,
        query=SessionsQuery,
    ),
    Route(
        "events",
        "GET",
        "/events",
        "What changed lately, the oldest first.",
        Events,
        _events,
        query=EventsQuery,
    ),
    Route("stats", "GET", "/stats", "The figures of this moment.", Stats, _stats),
    Route("config", "GET", "/config", "The configuration in force.", ConfigView, _config),
    Route(
        "configDifference",
        "GET",
        "/config/diff",
        "The runtime changes, against the file.",
        ConfigDifference,
        _config_difference,
    ),
    Route(
        "explain",
        "GET",
        "/explain",
        "Which backend a connection would get now, and why.",
        Explanation,
        _explain,
        query=ExplainQuery,
        errors=(404,),
    ),
    Route(
        "eventStream",
        "GET",
        "/events/stream",
        "A stream of what changes.",
        EventView,
        Stream(events),
        query=StreamQuery,
    ),
    Route(
        "statsStream",
        "GET",
        "/stats/stream",
        "A stream of the figures, once a second.",
        Stats,
        Stream(stats),
    ),
    Route(
        "connectionStream",
        "GET",
        "/connections/stream",
        "A stream of the connections as they end.",
        Ended,
        Stream(ended),
        query=TapQuery,
    ),
    Route(
        "setState",
        "PUT",
        f"{_BACKEND}/state",
        "Enable, drain or disable a backend.",
        Applied,
        _set_state,
        body=StateChange,
    ),
    Route(
        "setWeight",
        "PUT",
        f"{_BACKEND}/weight",
        "Give a backend another weight.",
        Applied,
        _set_weight,
        body=WeightChange,
    ),
    Route(
        "addBackend",
        "POST",
        "/backends/{pool}",
        "Add a backend to a pool.",
        Applied,
        _add_backend,
        body=NewBackend,
        status=201,
    ),
    Route(
        "removeBackend",
        "DELETE",
        _BACKEND,
        "Take a backend out of its pool.",
        Applied,
        _remove_backend,
    ),
    Route(
        "closeSession",
        "DELETE",
        "/sessions/{session}",
        "Close an open connection with a reset.",
        Closed,
        _close_session,
    ),
    Route(
        "reload",
        "POST",
        "/reload",
        "Reload the config file, or say what that would change.",
        Applied,
        _reload,
        body=ReloadRequest,
    ),
    Route(
        "saveConfig",
        "POST",
        "/config/save",
        "Write the runtime changes into the config file.",
        Saved,
        _save,
    ),
)
"""All of the API: the server and the OpenAPI document are made of it."""

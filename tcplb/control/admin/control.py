"""What the admin port needs of the balancer it is the admin port of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Protocol

from tcplb.config.changes import RuntimeChange
from tcplb.control.admin.models import (
    Applied,
    ConfigDifference,
    ConfigView,
    Ended,
    EventView,
    Explanation,
    PoolView,
    Saved,
    Sessions,
    Stats,
    Status,
)
from tcplb.control.inquiries import SessionFilter, TapFilter
from tcplb.errors import TcplbError

__all__ = ["Control", "NotFoundError", "SessionFilter", "TapFilter"]


class NotFoundError(TcplbError):
    """There is no such pool, backend or session."""


class Control(Protocol):
    """The balancer, as the admin port sees it. Nothing here may take long, but what is awaited."""

    def status(self) -> Status:
        """Return how the balancer is."""

    def why_not_ready(self) -> str:
        """Return why no connections should be sent here now, in words; nothing if they should."""

    def pools(self) -> list[PoolView]:
        """Return all pools with their backends."""

    def stats(self, *, max_age: float = 0.0) -> Stats:
        """Return the figures of this moment, or some that are at most `max_age` seconds old."""

    def events(self, after: int) -> list[EventView]:
        """Return the events after that number which are still known, the oldest first."""

    async def next_event(self, after: int) -> None:
        """Wait until there is an event after that number."""

    async def sessions(self, wanted: SessionFilter, cursor: str | None, limit: int) -> Sessions:
        """Return a page of open sessions. Raises ValueError if `cursor` is none."""

    async def close_session(self, session: str) -> None:
        """Close an open session with a reset. Raises NotFoundError."""

    def tap(self, wanted: TapFilter) -> AbstractContextManager[AsyncIterator[list[Ended]]]:
        """Return the connections that end from now on, some at a time."""

    def config(self) -> ConfigView:
        """Return the configuration in force."""

    def config_difference(self) -> ConfigDifference:
        """Return the runtime changes against the file."""

    def explain(self, pool: str | None, client: str | None, first_line: str | None) -> Explanation:
        """Return which backend a connection would get. Raises NotFoundError and ValueError."""

    async def reload(self, *, dry_run: bool, discard_changes: bool) -> Applied:
        """Reload the file. Raises ConfigError if it is wrong; BindError; nothing changes then."""

    async def change(self, change: RuntimeChange, *, timeout: float | None = None) -> Applied:
        """Make a runtime change; `timeout` (seconds) is that of a drain. Raises ChangeError,
        or NotFoundError if what it is about does not exist.
        """

    async def save(self) -> Saved:
        """Write the runtime changes into the file. Raises ConfigError or ChangeError."""

"""What is different between two sets of settings, and what of it needs a restart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

from tcplb.config.keypath import KeyPath, format_path
from tcplb.config.models import BackendConfig, Config, ListenerConfig, PoolConfig
from tcplb.config.runtime_change import to_table
from tcplb.config.table import Table
from tcplb.config.wording import quote
from tcplb.policy.names import StrategyName

_LONGEST_VALUE = 120  # characters of a value in one line of text
_PLAIN = re.compile(r"[!-~]+")

_RESTARTS: Final[Mapping[KeyPath, str]] = {
    ("admin",): "the admin API is set up at the start",
    ("log", "access"): "workers open the access log at their start",
    ("log", "format"): "the form of log lines is chosen at the start",
}
_NOT_BY_ORDER = frozenset(
    {
        StrategyName.HASH,
        StrategyName.MAGLEV,
        StrategyName.RENDEZVOUS,
        StrategyName.RANDOM,
        StrategyName.POWER_OF_TWO,
        StrategyName.PEAK_EWMA,
    }
)
"""The strategies whose picks do not depend on the order of the backends."""


class Effect(StrEnum):
    """When a change can take effect."""

    LIVE = "live"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that is not the same, or a whole listener, pool, backend or table.

    `path` has listeners and backends by name: ``pools.web.backends.b1.weight``. `before` and
    `after` are as JSON has them, in the form that a user writes (``"5s"``), and None where there is
    nothing; of a whole table that is added or removed they have what is no default. If the members
    of a pool come in another order, both are lists of their names.
    """

    path: str
    before: Any
    after: Any
    effect: Effect = Effect.LIVE
    reason: str = ""
    """Why it needs a restart, if it does."""

    @property
    def kind(self) -> Literal["added", "removed", "changed"]:
        """Whether it was not there before, or is not there any more, or neither."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"

    def __str__(self) -> str:
        restart = f" (needs a restart: {self.reason})" if self.reason else ""
        return f"{self._words()}{restart}"

    def _words(self) -> str:
        match self.kind:
            case "added":
                return f"+ {self.path}: {_in_words(self.after)}"
            case "removed":
                return f"- {self.path}"
            case "changed":
                order = "order " if self._is_order() else ""
                return f"~ {self.path}: {order}{_in_words(self.before)} → {_in_words(self.after)}"

    def _is_order(self) -> bool:
        return self.path.endswith(".backends") and isinstance(self.after, list)


@dataclass(frozen=True, slots=True)
class Difference:
    """All changes between two sets of settings, in the order in which settings are documented."""

    changes: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    @property
    def needs_restart(self) -> tuple[Change, ...]:
        """Those that a running balancer cannot take on."""
        return tuple(change for change in self if change.effect is Effect.RESTART)


def difference(before: Config, after: Config) -> Difference:
    """What changes from `before` to `after`, both as `settings.load` gives them.

    The order of listeners and pools means nothing, and that of backends only to some strategies.
    """
    return Difference(tuple(_of_tables((), before, after)))


def _of_tables(path: KeyPath, before: Table, after: Table) -> Iterator[Change]:
    written_before, written_after = (
        table.model_dump(mode="json", include=_plain_fields(table)) for table in (before, after)
    )
    for key in type(after).model_fields:
        old, new = getattr(before, key), getattr(after, key)
        if key not in written_before or key not in written_after:
            yield from _of_members((*path, key), old, new)
        elif old != new:  # of which a secret shows nothing where it is written
            yield _change((*path, key), written_before[key], written_after[key])
    if isinstance(before, PoolConfig) and isinstance(after, PoolConfig):
        yield from _of_order((*path, "backends"), before, after)


def _plain_fields(table: Table) -> set[str]:
    """The keys whose values are compared as a whole: neither tables nor tables by name."""
    return {key for key in type(table).model_fields if not _holds_tables(getattr(table, key))}


def _holds_tables(value: object) -> bool:
    return isinstance(value, Table) or bool(_by_name(value))


def _by_name(value: object) -> dict[str, Table]:
    """The tables in `value` by what tells them apart, if it holds any."""
    match value:
        case Mapping():
            return dict(value)
        case tuple():
            named = (entry for entry in value if isinstance(entry, ListenerConfig | BackendConfig))
            return {entry.name: entry for entry in named}
    return {}


def _of_members(path: KeyPath, before: object, after: object) -> Iterator[Change]:
    """What changes in a table, or in the tables that have names."""
    if isinstance(before, Table) and isinstance(after, Table):
        yield from _of_tables(path, before, after)
    elif isinstance(before, Table) or isinstance(after, Table):
        yield _change(path, _written(before), _written(after))
    else:
        old, new = _by_name(before), _by_name(after)
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _of_members((*path, name), old.get(name), new.get(name))


def _change(path: KeyPath, before: object, after: object) -> Change:
    for start, reason in _RESTARTS.items():
        if path[: len(start)] == start:
            return Change(format_path(path), before, after, Effect.RESTART, reason)
    return Change(format_path(path), before, after)


def _of_order(path: KeyPath, before: PoolConfig, after: PoolConfig) -> Iterator[Change]:
    if {before.strategy, after.strategy} <= _NOT_BY_ORDER:
        return
    old, new = _names(before), _names(after)
    # A backend that comes or goes between the others does not change their order.
    if [name for name in old if name in new] != [name for name in new if name in old]:
        yield _change(path, old, new)


def _names(pool: PoolConfig) -> list[str]:
    return [backend.name for backend in pool.backends]


def _written(table: object) -> dict[str, Any] | None:
    """A table as a user would write it, without what the path or a default says already."""
    match table:
        case BackendConfig():
            backend = to_table(table)
            backend.pop("name", None)
            return backend
        case PoolConfig():
            rest = table.model_dump(mode="json", exclude_defaults=True, exclude={"backends"})
            return {**rest, "backends": [to_table(backend) for backend in table.backends]}
        case ListenerConfig():
            rest = table.model_dump(mode="json", exclude_defaults=True, exclude={"name", "bind"})
            return {"bind": table.bind, **rest}
        case Table():
            return table.model_dump(mode="json", exclude_defaults=True)
    return None


def _in_words(value: object) -> str:
    text = _words(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _words(value: object) -> str:
    match value:
        case dict():
            return ", ".join(_pair(key, inner) for key, inner in value.items()) or "all defaults"
        case list():
            return f"[{', '.join(_entry(entry) for entry in value)}]"
        case bool():
            return "true" if value else "false"
        case str():
            return value if _PLAIN.fullmatch(value) else quote(value)
    return str(value)


def _pair(key: str, value: object) -> str:
    if key in ("address", "bind"):  # which need no telling that they are
        return _words(value)
    return f"{key} ({_words(value)})" if isinstance(value, dict) else f"{key} {_words(value)}"


def _entry(entry: object) -> str:
    """A backend in a list by its name, or an access rule."""
    if isinstance(entry, dict):
        return _words(entry.get("name", entry.get("address")))
    return _words(entry)

"""Runtime changes: what an operator has changed since the settings were loaded.

They lie over the loaded settings: ``changes.apply_to(config)`` is what is in force. A reload brings
new settings, and `RuntimeChanges.rebased` says which changes are left on top of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Final

from tcplb.config.keypath import format_key
from tcplb.config.models import BackendConfig, Config, PoolConfig
from tcplb.config.runtime_change import (
    AddBackend,
    RemoveBackend,
    RuntimeChange,
    SetState,
    SetWeight,
    backend_from_table,
    backend_from_text,
    called,
    change_from_json,
    change_to_json,
    checked,
    target_of,
)
from tcplb.config.wording import closest, show
from tcplb.errors import ChangeError

__all__ = [
    "AddBackend",
    "RemoveBackend",
    "RuntimeChange",
    "RuntimeChanges",
    "SetState",
    "SetWeight",
    "backend_from_table",
    "backend_from_text",
]

_MOST_NAMES = 8  # that a message lists

_Members = dict[str, BackendConfig | None]
"""The backends of a pool in their order; None keeps the place of one that was removed."""

_NORMAL_FORMS: Final = (
    (SetState,),
    (SetWeight,),
    (SetState, SetWeight),
    (AddBackend,),
    (RemoveBackend,),
    (RemoveBackend, AddBackend),
)


@dataclass(frozen=True)
class RuntimeChanges:
    """The changes in force, in a normal form that follows from what they come to.

    A backend of the settings has at most one state and one weight that differ from theirs, or is
    removed, or is removed and added in another form (and keeps its place in the pool). One that the
    settings do not have is added, in its final form. What comes to nothing is not there. The
    changes of one backend stand together; added ones are in the order in which they came.
    """

    changes: tuple[RuntimeChange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __iter__(self) -> Iterator[RuntimeChange]:
        return iter(self.changes)

    def about(self, pool: str, backend: str) -> tuple[RuntimeChange, ...]:
        """The changes of one backend, none if it is as in the settings."""
        return self._groups.get((pool, backend), ())

    def with_change(self, change: RuntimeChange, config: Config) -> RuntimeChanges:
        """These changes and one more, for the settings as loaded.

        Raises ChangeError, with a text for the user, if there is no such backend, its name is taken
        or a value is wrong, or if the pool would be left without a backend.
        """
        pool, name = target_of(change)
        members = self._members(pool, config)
        _make(checked(change), members)
        if not any(members.values()):
            raise ChangeError(f"{called(change)} is the only one there, and a pool needs one")
        loaded = _loaded(config.pools[pool])
        return self._with_group(pool, name, _group(pool, loaded.get(name), members.get(name)))

    def apply_to(self, config: Config) -> Config:
        """The settings with the changes made, as valid as `config` is.

        Raises ChangeError, with a text for the user, if the changes do not fit `config`: see
        `rebased`.
        """
        pools = dict(config.pools)
        for pool in dict.fromkeys(change.pool for change in self):
            members = self._members(pool, config)
            backends = tuple(backend for backend in members.values() if backend is not None)
            if not backends:
                raise ChangeError(f"pool {format_key(pool)} would have no backend left")
            pools[pool] = config.pools[pool].model_copy(update={"backends": backends})
        return config.model_copy(update={"pools": pools}) if self else config

    def rebased(self, config: Config) -> tuple[RuntimeChanges, tuple[str, ...]]:
        """The changes that are left on top of new settings, and in words what was dropped and why.

        A change that the new settings have made themselves is dropped, and so is one that has lost
        its pool or backend. Where the new settings have a backend that had been added under the
        same name, they win.
        """
        loaded = {name: _loaded(pool) for name, pool in config.pools.items()}
        left: list[RuntimeChange] = []
        dropped: list[str] = []
        for (pool, _), group in self._groups.items():
            kept, reason = _rebase(group, loaded.get(pool))
            left += kept
            dropped += [f"{change}: {reason}" for change in _lost(group, kept)]
        return RuntimeChanges(tuple(left))._without_last_removals(config, dropped)

    def to_json(self) -> list[dict[str, Any]]:
        """The changes as JSON has them, for `from_json` of another process."""
        return [change_to_json(change) for change in self]

    @classmethod
    def from_json(cls, data: object) -> RuntimeChanges:
        """The changes that `to_json` gave. Raises ValueError, with a text, for anything else."""
        if not isinstance(data, list):
            raise ValueError(  # noqa: TRY004 - what comes in is wrong, not the program
                f"runtime changes must be an array (got {show(data)})"
            )
        changes = cls(tuple(change_from_json(entry) for entry in data))
        groups = changes._groups.values()
        normal = all(tuple(map(type, group)) in _NORMAL_FORMS for group in groups)
        if not normal or sum(groups, ()) != changes.changes:
            raise ValueError("runtime changes contradict each other")
        return changes

    @cached_property
    def _groups(self) -> Mapping[tuple[str, str], tuple[RuntimeChange, ...]]:
        """The changes of each backend, by its pool and name."""
        groups: dict[tuple[str, str], list[RuntimeChange]] = {}
        for change in self:
            groups.setdefault(target_of(change), []).append(change)
        return {target: tuple(group) for target, group in groups.items()}

    def _with_group(self, pool: str, name: str, group: tuple[RuntimeChange, ...]) -> RuntimeChanges:
        """With `group` as the changes of a backend, at the place of those it had, if any."""
        places = [n for n, change in enumerate(self) if target_of(change) == (pool, name)]
        first = places[0] if places else len(self.changes)
        after = first + len(places)
        return RuntimeChanges((*self.changes[:first], *group, *self.changes[after:]))

    def _members(self, pool: str, config: Config) -> _Members:
        """The pool with the changes made; raises ChangeError where they do not fit."""
        if pool not in config.pools:
            raise ChangeError(f"no pool is called {_missing(pool, config.pools)}")
        members: _Members = {**_loaded(config.pools[pool])}
        for change in self:
            if change.pool == pool:
                _make(change, members)
        return members

    def _without_last_removals(
        self, config: Config, dropped: list[str]
    ) -> tuple[RuntimeChanges, tuple[str, ...]]:
        """Without the removals that would leave a pool of the new settings with no backend."""
        left = self
        for pool, last in {change.pool: change for change in self}.items():
            if any(self._members(pool, config).values()):
                continue
            # All of them are removals then; without one of them there is a backend.
            left = left._with_group(*target_of(last), ())
            dropped.append(f"{last}: it is the last one that the pool has now")
        return left, tuple(dropped)


def _loaded(pool: PoolConfig) -> dict[str, BackendConfig]:
    return {backend.name: backend for backend in pool.backends}


def _make(change: RuntimeChange, members: _Members) -> None:
    """Change the members of the pool; raises ChangeError if the change does not fit them."""
    _, name = target_of(change)
    present = members.get(name)
    if isinstance(change, AddBackend):
        if present is not None:
            raise ChangeError(f"{called(change)} is there already")
        members[name] = change.backend
        return
    if present is None:
        names = [known for known, backend in members.items() if backend is not None]
        pool = format_key(change.pool)
        raise ChangeError(f"no backend is called {_missing(name, names, f' in pool {pool}')}")
    match change:
        case RemoveBackend():
            members[name] = None
        case SetState(state=state):
            members[name] = present.model_copy(update={"state": state})
        case SetWeight(weight=weight):
            members[name] = present.model_copy(update={"weight": weight})


def _missing(name: str, names: Iterable[str], where: str = "") -> str:
    known = list(names)
    guess = closest(name, known)
    if guess:
        return f"{format_key(name)}{where}; did you mean {format_key(guess)}?"
    listed = [format_key(one) for one in islice(known, _MOST_NAMES)]
    more = ["..."] if len(known) > _MOST_NAMES else []
    return f"{format_key(name)}{where} (there are {', '.join([*listed, *more])})"


def _group(
    pool: str, loaded: BackendConfig | None, wanted: BackendConfig | None
) -> tuple[RuntimeChange, ...]:
    """The changes that make a backend of the settings, or none, into another, or none."""
    if loaded == wanted:
        return ()
    if wanted is None:
        return (RemoveBackend(pool, loaded.name),) if loaded else ()
    if loaded is None:
        return (AddBackend(pool, wanted),)
    name = wanted.name
    if loaded.model_copy(update={"state": wanted.state, "weight": wanted.weight}) != wanted:
        return RemoveBackend(pool, name), AddBackend(pool, wanted)
    state = (SetState(pool, name, wanted.state),) if wanted.state != loaded.state else ()
    weight = (SetWeight(pool, name, wanted.weight),) if wanted.weight != loaded.weight else ()
    return (*state, *weight)


def _rebase(
    group: tuple[RuntimeChange, ...], loaded: Mapping[str, BackendConfig] | None
) -> tuple[tuple[RuntimeChange, ...], str]:
    """What is left of the changes of one backend in the pool as it is `loaded`; why not all."""
    if loaded is None:
        return (), "there is no such pool any more"
    pool_name, name = target_of(group[0])
    now = loaded.get(name)
    match group[-1]:
        case RemoveBackend():
            return (group if now else ()), _SAME
        case AddBackend(backend=added) if len(group) == 1 and now not in (None, added):
            return (), "the settings have another one of that name now"
        case AddBackend(backend=added):
            return _group(pool_name, now, added), _SAME
    if now is None:
        return (), "there is no such backend any more"
    members: _Members = {name: now}
    for change in group:
        _make(change, members)
    return _group(pool_name, now, members[name]), _SAME


def _lost(
    group: tuple[RuntimeChange, ...], kept: tuple[RuntimeChange, ...]
) -> tuple[RuntimeChange, ...]:
    """The changes of a backend that are dropped; one that is replaced is one to a reader."""
    if isinstance(group[-1], AddBackend):
        return () if kept else group[-1:]
    return tuple(change for change in group if change not in kept)


_SAME: Final = "the settings say the same now"

"""One runtime change: what an operator does to a backend, in words, as JSON, and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from tcplb.config.keypath import format_key
from tcplb.config.models import BackendConfig
from tcplb.config.overrides import Override, parse_backend
from tcplb.config.settings import load
from tcplb.config.wording import one_of, show
from tcplb.errors import ChangeError, ConfigError
from tcplb.policy.backend import MAX_WEIGHT

State = Literal["enabled", "draining", "disabled"]
STATES: Final[tuple[State, ...]] = get_args(State)


@dataclass(frozen=True, slots=True)
class SetState:
    """The backend gets new connections, or finishes the ones it has, or is left alone."""

    pool: str
    backend: str
    state: State

    def __str__(self) -> str:
        return f"{called(self)}: {self.state}"


@dataclass(frozen=True, slots=True)
class SetWeight:
    """The backend has this weight, 0 to `MAX_WEIGHT`."""

    pool: str
    backend: str
    weight: int

    def __str__(self) -> str:
        return f"{called(self)}: weight {self.weight}"


@dataclass(frozen=True, slots=True)
class AddBackend:
    """The pool has one more backend; or another one under the name of one that was removed."""

    pool: str
    backend: BackendConfig

    def __str__(self) -> str:
        table = to_table(self.backend)
        table.pop("name", None)
        words = [table.pop("address"), *(f"{key} {_plain(value)}" for key, value in table.items())]
        return f"{called(self)}: added ({', '.join(words)})"


@dataclass(frozen=True, slots=True)
class RemoveBackend:
    """The pool no longer has the backend."""

    pool: str
    backend: str

    def __str__(self) -> str:
        return f"{called(self)}: removed"


RuntimeChange = SetState | SetWeight | AddBackend | RemoveBackend


def change_to_json(change: RuntimeChange) -> dict[str, Any]:
    """The change as JSON has it."""
    where = {"pool": change.pool, "backend": change.backend}
    match change:
        case SetState():
            return {"change": "state", **where, "state": change.state}
        case SetWeight():
            return {"change": "weight", **where, "weight": change.weight}
        case AddBackend():
            return {"change": "add", "pool": change.pool, "backend": to_table(change.backend)}
        case RemoveBackend():
            return {"change": "remove", **where}


def change_from_json(entry: object) -> RuntimeChange:
    """The change that `change_to_json` gave. Raises ValueError, with a text, for anything else."""
    try:
        return checked(_change_from_json(entry))
    except ChangeError as error:
        raise ValueError(str(error)) from None


def _change_from_json(entry: object) -> RuntimeChange:
    match entry:
        case {"change": "state", "pool": str(pool), "backend": str(name), "state": state}:
            return SetState(pool, name, state)
        case {"change": "weight", "pool": str(pool), "backend": str(name), "weight": weight}:
            return SetWeight(pool, name, weight)
        case {"change": "add", "pool": str(pool), "backend": dict(table)}:
            return AddBackend(pool, backend_from_table(table))
        case {"change": "remove", "pool": str(pool), "backend": str(name)}:
            return RemoveBackend(pool, name)
    raise ValueError(f"no such runtime change (got {show(entry)})")


def backend_from_text(text: str) -> BackendConfig:
    """The backend that a user writes as ``b5=127.0.0.1:8085,weight=2``, as after ``--backend``.

    Raises ValueError, with a text for the user, if the form or a value is wrong.
    """
    return backend_from_table(parse_backend(text))


def backend_from_table(table: object) -> BackendConfig:
    """The backend of a table as TOML and JSON have it, with all that is checked in a file checked.

    Raises ValueError, with a text for the user, if anything is wrong.
    """
    try:
        settings = load(None, [Override(("backends",), [table], "")])
    except ConfigError as error:
        raise ValueError("; ".join(str(problem) for problem in error.problems)) from None
    (pool,) = settings.config.pools.values()
    return pool.backends[0]


def to_table(backend: BackendConfig) -> dict[str, Any]:
    """The backend as a user would write it: its name, its address and what is no default."""
    table = backend.model_dump(mode="json", exclude_defaults=True)
    name, address = table.pop("name", backend.address), table.pop("address")
    return {**({"name": name} if name != address else {}), "address": address, **table}


def target_of(change: RuntimeChange) -> tuple[str, str]:
    """The names of the pool and of the backend that it is about."""
    name = change.backend.name if isinstance(change, AddBackend) else change.backend
    return change.pool, name


def called(change: RuntimeChange) -> str:
    """The backend in words: ``backend b1 of pool web``."""
    pool, name = target_of(change)
    return f"backend {format_key(name)} of pool {format_key(pool)}"


def checked(change: RuntimeChange) -> RuntimeChange:
    """The same change; raises ChangeError, with a text for the user, if its value is wrong."""
    match change:
        case SetState(state=state):
            _check_state(state)
        case SetWeight(weight=weight):
            _check_weight(weight)
        case AddBackend(backend=backend):
            _check_backend(backend)
    return change


def _plain(value: object) -> str:
    # The strings of a backend are made of characters that need no quotes.
    return value if isinstance(value, str) else show(value)


def _check_state(state: object) -> None:
    if state not in STATES:
        raise ChangeError(f"state {one_of(STATES, state)}")


def _check_weight(weight: object) -> None:
    # Who read it off JSON may have brought anything, and True is an int.
    if type(weight) is not int or not 0 <= weight <= MAX_WEIGHT:
        raise ChangeError(
            f"weight must be a whole number from 0 to {MAX_WEIGHT} (got {show(weight)})"
        )


def _check_backend(backend: BackendConfig) -> None:
    # What no single model sees, such as a tier beside backup.
    try:
        backend_from_table(to_table(backend))
    except ValueError as error:
        raise ChangeError(str(error)) from None

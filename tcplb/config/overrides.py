"""Flags and environment variables: each one replaces what the file says."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

from tcplb.config.document import AFTER_THE_FILE, Document, Finding, Origin
from tcplb.config.keypath import KeyPath
from tcplb.config.wording import closest, quote

_BACKEND_OPTIONS = {
    "weight": "weight=N",
    "max_connections": "max_connections=N",
    "tier": "tier=N",
    "backup": "backup",
    "state": "state=draining",
}
BACKEND_FORM = "".join(["[NAME=]HOST:PORT", *(f"[,{form}]" for form in _BACKEND_OPTIONS.values())])


@dataclass(frozen=True, slots=True)
class Override:
    """One setting from outside the file.

    A ``"*"`` in `path` stands for every listener or every pool. Two paths are special:
    ``("listeners",)`` has a list of addresses to bind and ``("backends",)`` a list of backends for
    the only pool, as `parse_backend` returns them. `value` is in the form it has in TOML, and
    `origin` is what users know it by: ``--idle-timeout`` or ``TCPLB_IDLE_TIMEOUT``.

    One that `needs_table` changes a table that is there, be it by another override, and does
    nothing where it is not: there an interval alone must not turn the checks on.
    """

    path: KeyPath
    value: object
    origin: str
    needs_table: bool = False


def apply(document: Document, overrides: Sequence[Override]) -> list[Finding]:
    """Put the overrides into `document`, the later ones over the earlier.

    Returns those that do not fit it. It needs its ``listeners`` and ``pools`` (see `defaults`).
    """
    findings: list[Finding] = []
    for number, override in sorted(enumerate(overrides), key=lambda pair: _turn(pair[1])):
        origin = Origin(override.origin, AFTER_THE_FILE + number)
        match override.path:
            case ("listeners",):
                findings += _replace_binds(document, _as_list(override.value), origin)
            case ("backends",):
                findings += _replace_backends(document, _as_list(override.value), origin)
            case _:
                _set_everywhere(document, override, origin)
    return findings


def _turn(override: Override) -> tuple[bool, bool]:
    # Listeners and pools first, so that "*" means the final ones, and what makes a table before
    # what needs one.
    return len(override.path) > 1, override.needs_table


def parse_backend(text: str) -> dict[str, object]:
    """A backend of the form `BACKEND_FORM` as the table that a TOML file has.

    Whether the values are allowed is checked with all other settings. Raises ValueError, with a
    text for the user, if `text` has another form.
    """
    target, *options = text.split(",")
    name, equals, address = target.rpartition("=")
    backend: dict[str, object] = {"name": name} if equals else {}
    backend["address"] = address
    for option in options:
        key, equals, value = option.partition("=")
        if key not in _BACKEND_OPTIONS or bool(equals) is (key == "backup"):
            raise ValueError(_wrong_option(key, text))
        if key in backend:
            raise ValueError(f"must have {key} only once (got {quote(text)})")
        backend[key] = _option_value(key, value)
    return backend


def _wrong_option(key: str, text: str) -> str:
    guess = closest(key, _BACKEND_OPTIONS)
    hint = f'; did you mean "{_BACKEND_OPTIONS[guess]}"?' if guess else ""
    return f"must be {BACKEND_FORM} (got {quote(text)}{hint})"


def _option_value(key: str, value: str) -> object:
    match key:
        case "backup":
            return True
        case "state":
            return value
        case _:
            return _whole_number(key, value)


def _whole_number(key: str, value: str) -> int:
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
        raise ValueError(f"{key} must be a whole number (got {quote(value)})")
    return int(value)


def _set_everywhere(document: Document, override: Override, origin: Origin) -> None:
    # The position in a list that one flag has made says nothing that its value does not.
    base = len(override.path) + isinstance(override.value, list)
    for path in document.expand(override.path):
        if override.needs_table and not isinstance(document.get(path[:-1]), dict):
            continue
        document.set(path, override.value, replace(origin, base=base))


def _replace_backends(document: Document, backends: list[object], origin: Origin) -> list[Finding]:
    pools = _pool_names(document)
    if len(pools) > 1:
        return [_unclear(origin, f"the file has several pools ({', '.join(pools)})")]
    for pool in pools:
        path = ("pools", pool, "backends")
        # The path within one backend is worth telling: "--backend: weight: must be …".
        document.set(path, backends, replace(origin, base=len(path) + 1))
    return []


def _replace_binds(document: Document, binds: list[object], origin: Origin) -> list[Finding]:
    """Listen on `binds` with the settings of the file's listener."""
    pools = _pool_names(document)
    if len(pools) > 1:
        return [_unclear(origin, f"the file has several pools ({', '.join(pools)})")]
    written = [listener for _, listener in document.tables("listeners")]
    if document.data["listeners"] != written:
        return []  # not an array of tables: checking will report that
    dropped = {"bind"} if len(binds) == 1 == len(written) else {"bind", "name"}
    kept = [_without(listener, dropped) for listener in written] or [{}]
    if any(listener != kept[0] for listener in kept):
        return [_unclear(origin, f"the file has {len(kept)} listeners with different settings")]
    origins = _listener_origins(document, dropped)
    document.data["listeners"] = [deepcopy(kept[0]) for _ in binds]
    document.forget(("listeners",))
    document.origins[("listeners",)] = replace(origin, base=1)
    for index, bind in enumerate(binds):
        document.origins[("listeners", index)] = replace(origin, base=2)
        document.origins |= {("listeners", index, *rest): o for rest, o in origins.items()}
        document.set(("listeners", index, "bind"), bind, replace(origin, base=3))
    return []


def _without(table: dict[str, object], keys: set[str]) -> dict[str, object]:
    return {key: value for key, value in table.items() if key not in keys}


def _listener_origins(document: Document, dropped: set[str]) -> dict[KeyPath, Origin]:
    """The origins of the first listener's settings, by their paths in it."""
    first: KeyPath = ("listeners", 0)
    return {
        path[2:]: origin
        for path, origin in document.origins.items()
        if path[:2] == first and len(path) > 2 and path[2] not in dropped
    }


def _pool_names(document: Document) -> list[str]:
    pools = document.data["pools"]
    return list(pools) if isinstance(pools, dict) else []


def _unclear(origin: Origin, reason: str) -> Finding:
    message = f"{reason}, so it is unclear which one is meant: change it in the file"
    return Finding((), message, origin)


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value]

"""Flags and environment variables: each one replaces what the file says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tcplb.config.document import Document, Finding, Origin
from tcplb.config.keypath import KeyPath
from tcplb.config.wording import closest, quote

_AFTER_THE_FILE = 1_000_000_000  # larger than any line number: problems in the file come first
_BACKEND_OPTIONS = ("weight", "max_connections")
_BACKEND_FORM = "[NAME=]HOST:PORT[,weight=N][,max_connections=N]"


@dataclass(frozen=True, slots=True)
class Override:
    """One setting from outside the file.

    A ``"*"`` in `path` stands for every listener or every pool. Two paths are special:
    ``("listeners",)`` has a list of addresses to bind and ``("backends",)`` a list of backends for
    the only pool, as `parse_backend` returns them. `value` is in the form it has in TOML, and
    `origin` is what users know it by: ``--idle-timeout`` or ``TCPLB_IDLE_TIMEOUT``.
    """

    path: KeyPath
    value: object
    origin: str


def apply(document: Document, overrides: Sequence[Override]) -> list[Finding]:
    """Put the overrides into `document`, the later ones over the earlier.

    Returns those that do not fit it. It needs its ``listeners`` and ``pools`` (see `defaults`).
    """
    findings: list[Finding] = []
    # Listeners and pools first, so that "*" means the final ones.
    ordered = sorted(enumerate(overrides), key=lambda pair: len(pair[1].path) > 1)
    for number, override in ordered:
        origin = Origin(override.origin, _AFTER_THE_FILE + number)
        match override.path:
            case ("listeners",):
                findings += _replace_binds(document, _as_list(override.value), origin)
            case ("backends",):
                findings += _replace_backends(document, _as_list(override.value), origin)
            case _:
                _set_everywhere(document, override, origin)
    return findings


def parse_backend(text: str) -> dict[str, object]:
    """``[NAME=]HOST:PORT[,weight=N][,max_connections=N]`` as the table that a TOML file has.

    Whether the values are allowed is checked with all other settings. Raises ValueError, with a
    text for the user, if `text` has another form.
    """
    target, *options = text.split(",")
    name, equals, address = target.rpartition("=")
    backend: dict[str, object] = {"name": name} if equals else {}
    backend["address"] = address
    for option in options:
        key, equals, value = option.partition("=")
        if key not in _BACKEND_OPTIONS or not equals:
            raise ValueError(_wrong_option(key, text))
        if key in backend:
            raise ValueError(f"must have {key} only once (got {quote(text)})")
        backend[key] = _whole_number(key, value)
    return backend


def _wrong_option(key: str, text: str) -> str:
    guess = closest(key, _BACKEND_OPTIONS)
    hint = f'; did you mean "{guess}=N"?' if guess else ""
    return f"must be {_BACKEND_FORM} (got {quote(text)}{hint})"


def _whole_number(key: str, value: str) -> int:
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
        raise ValueError(f"{key} must be a whole number (got {quote(value)})")
    return int(value)


def _set_everywhere(document: Document, override: Override, origin: Origin) -> None:
    for path in document.expand(override.path):
        document.set(path, override.value, replace(origin, base=len(path)))


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
    document.data["listeners"] = [dict(kept[0]) for _ in binds]
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

"""What settings say about each other: names that must exist, and ones that must be unique.

This looks at the values as they were written, whatever else is wrong with them, so that a user
gets all problems in one go. Values of a wrong type are left to the models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tcplb.config.address_fields import to_backend_address
from tcplb.config.defaults import bind_of
from tcplb.config.document import Document, Finding
from tcplb.config.keypath import KeyPath, format_key, format_path
from tcplb.config.wording import closest, quote


def check_references(document: Document) -> list[Finding]:
    """All references that lead nowhere and all names and addresses used twice."""
    findings = [*_missing_pools(document), *_same_listeners(document)]
    for pool, _ in document.tables("pools"):
        findings += _same_backends(document, str(pool))
    return findings


def _missing_pools(document: Document) -> Iterator[Finding]:
    pools = document.data["pools"]
    if not isinstance(pools, dict):
        return
    for index, listener in document.tables("listeners"):
        pool = listener.get("pool")
        if isinstance(pool, str) and pool not in pools:
            yield Finding(("listeners", index, "pool"), _no_such_pool(pool, pools))


def _no_such_pool(pool: str, pools: Iterable[str]) -> str:
    guess = closest(pool, pools)
    if guess:
        return f"no such pool (got {quote(pool)}; did you mean {quote(guess)}?)"
    names = ", ".join(format_key(name) for name in pools)
    return f"no such pool (got {quote(pool)}; pools: {names})"


def _same_listeners(document: Document) -> list[Finding]:
    listeners = document.tables("listeners")
    names = [(("listeners", index, "name"), entry.get("name")) for index, entry in listeners]
    binds = [(("listeners", index, "bind"), _fixed_bind(entry)) for index, entry in listeners]
    return [*_repeated(names, "must be unique"), *_repeated(binds, "must be unique")]


def _fixed_bind(listener: dict[str, Any]) -> str | None:
    bind = bind_of(listener)
    # Every port 0 is another port in the end.
    return None if bind is None or bind.endswith(":0") else bind


def _same_backends(document: Document, pool: str) -> list[Finding]:
    backends = document.tables("pools", pool, "backends")
    names: list[tuple[KeyPath, object]] = []
    for index, backend in backends:
        path: KeyPath = ("pools", pool, "backends", index)
        if "name" in backend:
            names.append(((*path, "name"), backend["name"]))
        else:
            names.append(((*path, "address"), _address_of(backend)))
    return list(_repeated(names, "must be unique in its pool"))


def _address_of(backend: dict[str, Any]) -> str | None:
    try:
        return to_backend_address(backend.get("address"))
    except ValueError:
        return None


def _repeated(values: Iterable[tuple[KeyPath, object]], rule: str) -> Iterator[Finding]:
    first: dict[str, KeyPath] = {}
    for path, value in values:
        if not isinstance(value, str):
            continue
        if value in first:
            other = format_path(first[value][:-1])
            unless = ' unless it has a "name"' if path[-1] == "address" else ""
            yield Finding(path, f"{rule}{unless}, but {other} has it too (got {quote(value)})")
        first.setdefault(value, path)

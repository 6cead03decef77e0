"""What is filled in because it follows from the rest: listeners, pools, and how they are called.

Plain defaults are in `models`. Those here depend on what else the user wrote.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tcplb.config.address_fields import to_bind_address
from tcplb.config.document import Document, Finding
from tcplb.config.keypath import format_key
from tcplb.config.models import DEFAULT_BIND, DEFAULT_NAME, Config


def add_missing_tables(document: Document) -> list[Finding]:
    """Add the default pool if there are no pools, and a listener if there are no listeners."""
    if "pools" not in document.data:
        document.data["pools"] = _default_pools()
    if "listeners" in document.data:
        return []
    pools = _names(document.data["pools"])
    if len(pools) <= 1:
        document.data["listeners"] = [{}]
        return []
    document.data["listeners"] = [{"pool": pools[0]}]
    message = f"is required, because there are several pools ({_written(pools)})"
    return [Finding(("listeners",), message)]


def add_missing_names(document: Document) -> list[Finding]:
    """Give each listener without a pool its pool, and each of several without a name a name.

    Returns the listeners whose pool is unclear.
    """
    listeners = document.tables("listeners")
    _name_listeners([listener for _, listener in listeners])
    pools = _names(document.data["pools"])
    findings = []
    for index, listener in listeners:
        if "pool" in listener:
            continue
        if len(pools) == 1:
            listener["pool"] = pools[0]
        elif pools and DEFAULT_NAME not in pools:
            message = f"is required, because there are several pools ({_written(pools)})"
            findings.append(Finding(("listeners", index, "pool"), message))
            listener["pool"] = pools[0]
    return findings


def bind_of(listener: dict[str, Any]) -> str | None:
    """The address a listener binds, in its one normal form; None if it is not a valid one."""
    try:
        return to_bind_address(listener.get("bind", DEFAULT_BIND))
    except ValueError:
        return None


def _default_pools() -> Any:
    # None stands for a table that is not there, and a flag is to make one where there is none.
    return Config().model_dump(mode="json", exclude_none=True)["pools"]


def _name_listeners(listeners: list[dict[str, Any]]) -> None:
    if len(listeners) < 2:
        return
    taken = [listener["name"] for listener in listeners if "name" in listener]
    for listener in listeners:
        bind = bind_of(listener)
        if "name" not in listener and bind is not None:
            listener["name"] = _unused(bind, taken)
            taken.append(listener["name"])


def _unused(name: str, taken: Collection[object]) -> str:
    """`name`, or with a number behind it: two listeners may both bind port 0."""
    candidate = name
    number = 2
    while candidate in taken:
        candidate = f"{name}-{number}"
        number += 1
    return candidate


def _names(pools: object) -> list[str]:
    return list(pools) if isinstance(pools, dict) else []


def _written(names: list[str]) -> str:
    return ", ".join(format_key(name) for name in names)

"""Keys that mean nothing beside another one, or need it: an HTTP path in a check that connects.

Where the file has two keys of which one means nothing, that is a mistake. Where a flag or a
variable has a say, it may well have switched one and left the other over: then that is dropped, as
if it were not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tcplb.config.admin import AUTO, is_local, to_admin_bind
from tcplb.config.document import Document, Finding
from tcplb.config.keypath import KeyPath
from tcplb.config.wording import quote, show
from tcplb.policy.backend import MAX_TIER

_ONLY_FOR = {
    "http": ("method", "path", "host", "status", "body"),
    "send-expect": ("send", "expect"),
}
_RATE = "max_new_per_second"


class _Idle(NamedTuple):
    """A key that means nothing because of what another key says, or because that is not there."""

    path: KeyPath
    because_of: KeyPath
    message: str


def settle_combinations(document: Document) -> list[Finding]:
    """The keys in the file that mean nothing there; those that a flag made idle are dropped."""
    findings = [*_unclear_tiers(document), *_open_admin(document)]
    idles = [*_idle_in_checks(document), *_idle_bursts(document), *_idle_token_file(document)]
    for idle in idles:
        if document.is_of_flag(idle.path) or document.is_of_flag(idle.because_of):
            document.drop(idle.path)
        else:
            findings.append(Finding(idle.path, idle.message))
    return findings


def unused_by(check_type: object) -> dict[str, str]:
    """The keys that checks of this type do not use, with the type that each is for."""
    return {key: other for other, keys in _ONLY_FOR.items() if other != check_type for key in keys}


def _idle_in_checks(document: Document) -> Iterator[_Idle]:
    for pool, table in document.tables("pools"):
        check = table.get("check")
        kind = check.get("type", "tcp") if isinstance(check, dict) else None
        if not isinstance(check, dict) or kind not in ("tcp", *_ONLY_FOR):
            continue
        at: KeyPath = ("pools", pool, "check")
        for key, other in unused_by(kind).items():
            if key in check:
                message = f"is only for checks of type {quote(other)} (this one is {quote(kind)})"
                yield _Idle((*at, key), (*at, "type"), message)


def _idle_bursts(document: Document) -> Iterator[_Idle]:
    for index, listener in document.tables("listeners"):
        at: KeyPath = ("listeners", index)
        yield from _idle_burst(at, listener)
        if isinstance(listener.get("per_client"), dict):
            yield from _idle_burst((*at, "per_client"), listener["per_client"])


def _idle_burst(at: KeyPath, table: dict[str, Any]) -> Iterator[_Idle]:
    burst, rate = table.get("burst"), table.get(_RATE, 0)
    if isinstance(burst, int) and burst > 0 and rate == 0:
        message = f"needs {_RATE} beside it, which is not set (got {show(burst)})"
        yield _Idle((*at, "burst"), (*at, _RATE), message)


def _unclear_tiers(document: Document) -> list[Finding]:
    findings = []
    for pool, _ in document.tables("pools"):
        for index, backend in document.tables("pools", str(pool), "backends"):
            tier = backend.get("tier")
            if backend.get("backup") is True and isinstance(tier, int) and 1 < tier <= MAX_TIER:
                path: KeyPath = ("pools", pool, "backends", index, "tier")
                message = f"must not be there beside backup, which means tier 1 (got {tier})"
                findings.append(Finding(path, message))
    return findings


def _idle_token_file(document: Document) -> Iterator[_Idle]:
    admin = _admin(document)
    if "token" in admin and "token_file" in admin:
        message = "must not be there beside token"
        yield _Idle(("admin", "token_file"), ("admin", "token"), message)


def _open_admin(document: Document) -> Iterator[Finding]:
    """What an admin port needs that others than this machine can reach."""
    admin = _admin(document)
    with_tls = _given(admin, "tls_certificate"), _given(admin, "tls_key")
    if any(with_tls) and not all(with_tls):
        there, missing = ("tls_certificate", "tls_key")[:: 1 if with_tls[0] else -1]
        yield Finding(("admin", there), f"needs {missing} beside it")
    bind = _admin_bind(admin)
    if bind is None or is_local(bind):
        return
    needs = f"is no loopback address ({quote(bind)}), so that others can reach it: it needs"
    if not any(with_tls):
        yield Finding(("admin", "bind"), f"{needs} tls_certificate and tls_key")
    if not _has_token(admin):
        yield Finding(("admin", "bind"), f"{needs} a token, or a token_file of yours")


def _admin(document: Document) -> dict[str, Any]:
    admin = document.get(("admin",))
    return admin if isinstance(admin, dict) else {}


def _given(admin: dict[str, Any], key: str) -> bool:
    return admin.get(key) is not None


def _has_token(admin: dict[str, Any]) -> bool:
    return _given(admin, "token") or admin.get("token_file", AUTO) != AUTO


def _admin_bind(admin: dict[str, Any]) -> str | None:
    """Where the admin port listens; None if it is not said, or not in a valid way."""
    try:
        return to_admin_bind(admin.get("bind"))
    except ValueError:
        return None

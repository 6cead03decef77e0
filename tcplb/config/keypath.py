"""Where a setting stands: a path of table keys and array positions, and how it is written."""

from __future__ import annotations

import re

from tcplb.config.wording import LONGEST, quote

KeyPath = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def format_key(key: str) -> str:
    """One key as TOML writes it: bare where it can be, else quoted (and cut, if very long)."""
    if len(key) <= LONGEST and _BARE_KEY.fullmatch(key):
        return key
    return quote(key)


def format_path(path: KeyPath) -> str:
    """The path as messages show it: ``pools.web.backends[0].weight``."""
    parts = [f"[{step}]" if isinstance(step, int) else f".{format_key(step)}" for step in path]
    return "".join(parts).removeprefix(".")

"""The configuration in force as TOML, with where each setting came from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tcplb.cli.ctl.words import clock
from tcplb.config.keypath import KeyPath, format_key, format_path
from tcplb.control.admin.models import ConfigView
from tcplb.loadgen.reports.figures import printable


def config_lines(view: ConfigView) -> Iterator[str]:
    """Yield the lines of a TOML document; what is a default has no origin behind it."""
    yield f"# {printable(view.file or 'no file')}, in force since {clock(view.loaded_at)}"
    yield from _table(view.origins, (), view.config)


def _table(origins: Mapping[str, str], path: KeyPath, table: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values of a table first, as TOML wants it, then the tables in it."""
    for key, value in table.items():
        if value is not None and not _holds_tables(value):  # TOML has no null
            origin = origins.get(format_path((*path, key)))
            comment = f"  # {printable(origin)}" if origin else ""
            yield f"{format_key(key)} = {_value(value)}{comment}"
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _headed(origins, (*path, key), value, "[{}]")
        elif _holds_tables(value):
            for index, entry in enumerate(value):
                yield from _headed(origins, (*path, key, index), entry, "[[{}]]")


def _headed(
    origins: Mapping[str, str], path: KeyPath, table: Mapping[str, Any], brackets: str
) -> Iterator[str]:
    if not table or not all(_holds_tables(value) for value in table.values()):
        yield ""
        yield brackets.format(".".join(format_key(step) for step in path if isinstance(step, str)))
    yield from _table(origins, path, table)


def _holds_tables(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(entry, dict) for entry in value)
    return isinstance(value, dict)


def _value(value: object) -> str:
    # What JSON escapes, TOML escapes the same way; and what no terminal should see, too.
    written = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in written)

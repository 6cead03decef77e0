"""The settings for people and editors to read: as TOML with origins, and as a JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tcplb.config.combinations import unused_by
from tcplb.config.keypath import KeyPath, format_key
from tcplb.config.models import Config
from tcplb.config.settings import Settings


def to_toml(settings: Settings) -> str:
    """The effective settings as a TOML document, each line with where it came from.

    Loading the document gives an equal `Config`.
    """
    # TOML has no null: what is None is not there.
    written = settings.config.model_dump(mode="json", exclude_none=True)
    for pool in written["pools"].values():
        _leave_out_unused(pool.get("check", {}))
    return "".join(_table(settings, (), written)).lstrip("\n")


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a configuration file."""
    # pydantic writes defaults as users would ("5s", not 5.0) only in this mode. What the models
    # read and what they write is the same form, so the rest of the schema does not differ.
    schema = Config.model_json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "tcplb configuration",
    }


def _leave_out_unused(check: dict[str, Any]) -> None:
    """Take out what the file must not have beside this type; it has its default."""
    for key in unused_by(check.get("type")):
        check.pop(key, None)


def _table(settings: Settings, path: KeyPath, table: dict[str, Any]) -> Iterator[str]:
    """The lines of a table: its own values first, as TOML wants it, then the tables in it."""
    for key, value in table.items():
        if not _holds_tables(value):
            origin = settings.origin_of((*path, key))
            yield f"{format_key(key)} = {_value(value)}  # {origin}\n"
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _headed(settings, (*path, key), value, "[{}]")
        elif _holds_tables(value):
            for index, entry in enumerate(value):
                yield from _headed(settings, (*path, key, index), entry, "[[{}]]")


def _headed(
    settings: Settings, path: KeyPath, table: dict[str, Any], brackets: str
) -> Iterator[str]:
    if not all(_holds_tables(value) for value in table.values()):
        name = ".".join(format_key(step) for step in path if isinstance(step, str))
        yield f"\n{brackets.format(name)}  # {settings.origin_of(path)}\n"
    yield from _table(settings, path, table)


def _holds_tables(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(entry, dict) for entry in value)
    return isinstance(value, dict)


def _value(value: object) -> str:
    # JSON's strings and numbers are TOML's too, but for DEL, which TOML wants escaped. So does a
    # terminal, and more: whatever cannot be printed.
    written = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in written)

"""The settings for people and editors to read: as TOML with origins, and as a JSON Schema."""

from __future__ import annotations

from typing import Any

from tcplb.config.combinations import unused_by
from tcplb.config.models import Config
from tcplb.config.settings import Settings
from tcplb.config.toml_text import TomlText


def to_toml(settings: Settings) -> str:
    """The effective settings as a TOML document, each line with where it came from.

    Loading the document gives an equal `Config`.
    """
    # TOML has no null: what is None is not there.
    written = settings.config.model_dump(mode="json", exclude_none=True)
    for pool in written["pools"].values():
        _leave_out_unused(pool.get("check", {}))
    text = TomlText(settings.origin_of, settings.origin_of)
    return "".join(f"{line}\n" for line in text.lines(written)).lstrip("\n")


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

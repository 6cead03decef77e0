"""The types of settings of any kind: how each is checked, written back and described.

Those of addresses, pools and checks are in modules of their own.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)

from tcplb.config.units import DURATION_PATTERN, format_duration, parse_duration
from tcplb.config.wording import quote, show

MAX_WORKERS = 256
MAX_COUNT = 1_000_000_000  # more is a mistake, and would not fit into what counts it
AS_WRITTEN = "as written"  # the context in which what a user wrote is validated

# No spaces and no slash: the access log separates its fields by spaces and writes pool/backend.
_CHARACTERS = r"[A-Za-z0-9._:%\[\]-]+"


def _check_name(name: str) -> str:
    if not re.fullmatch(_CHARACTERS, name):
        raise ValueError(f"must be made of letters, digits and . _ - : % [ ] (got {quote(name)})")
    if name in {".", ".."}:
        # Whoever asks the API for a path with these takes them for steps in it (RFC 3986, 5.2.4).
        raise ValueError(f"cannot be {quote(name)}, which no path of the API can have in it")
    return name


def _to_seconds(value: object, info: ValidationInfo) -> float:
    if isinstance(value, str):
        return parse_duration(value)
    # Code may give seconds, the type of the field; a user is to say which unit is meant.
    if isinstance(value, int | float) and info.context != AS_WRITTEN:
        return parse_duration(format_duration(float(value)))
    raise ValueError(
        f'must be a duration in quotes, such as "250ms", "5s" or "1h" (got {show(value)})'
    )


def _to_positive_seconds(value: object, info: ValidationInfo) -> float:
    seconds = _to_seconds(value, info)
    if seconds == 0:
        raise ValueError(f"must be longer than 0s (got {show(value)})")
    return seconds


def _to_max_connections(value: object) -> int | str:
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f'must be a whole number of at least 1, or "auto" (got {show(value)})')
    return value


def _to_workers(value: object) -> int | str:
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_WORKERS:
        raise ValueError(
            f'must be a whole number from 1 to {MAX_WORKERS}, or "auto" (got {show(value)})'
        )
    return value


def _check_log_path(path: str) -> str:
    if not path or "\0" in path or not _is_utf8(path):
        raise ValueError(f'must be a path, "-" for standard output or "none" (got {quote(path)})')
    return path


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_DURATION_SCHEMA = {
    "type": "string",
    "pattern": DURATION_PATTERN,
    "examples": ["250ms", "5s", "1h"],
}
Name = Annotated[
    str,
    AfterValidator(_check_name),
    WithJsonSchema(
        {"type": "string", "pattern": rf"^(?!\.\.?$){_CHARACTERS}$", "examples": ["web"]}
    ),
]
Duration = Annotated[
    float,
    BeforeValidator(_to_seconds),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(_DURATION_SCHEMA),
]
PositiveDuration = Annotated[
    float,
    BeforeValidator(_to_positive_seconds),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(_DURATION_SCHEMA),
]
Count = Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)]
PositiveCount = Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT)]
Percent = Annotated[int, Field(strict=True, ge=0, le=100)]
Part = Annotated[float, Field(strict=True, ge=0, le=1)]
Port = Annotated[int, Field(strict=True, ge=0, le=65535)]
Switch = Annotated[bool, Field(strict=True)]
MaxConnections = Annotated[
    int | Literal["auto"],
    PlainValidator(_to_max_connections),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto"}]}),
]
Workers = Annotated[
    int | Literal["auto"],
    PlainValidator(_to_workers),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MAX_WORKERS},
                {"const": "auto"},
            ]
        }
    ),
]
LogPath = Annotated[str, AfterValidator(_check_log_path)]

"""The types of single settings: how each is checked, written back and described in the schema."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)

from tcplb.config.units import (
    DURATION_PATTERN,
    format_address,
    format_duration,
    parse_address,
    parse_duration,
)
from tcplb.config.wording import quote, show

MAX_WORKERS = 256
AS_WRITTEN = "as written"  # the context in which what a user wrote is validated

# No spaces and no slash: the access log separates its fields by spaces and writes pool/backend.
_NAME_PATTERN = r"^[A-Za-z0-9._:%\[\]-]+$"


def _check_name(name: str) -> str:
    if name.endswith("\n") or not re.fullmatch(_NAME_PATTERN, name):
        raise ValueError(f"must be made of letters, digits and . _ - : % [ ] (got {quote(name)})")
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


def _to_address(value: object, *, bind: bool) -> str:
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - pydantic collects ValueErrors, not TypeErrors
            f'must be an address in quotes, such as "127.0.0.1:8081" (got {show(value)})'
        )
    return format_address(*parse_address(value, bind=bind))


def to_bind_address(value: object) -> str:
    """A listener's address in its one normal form; raises ValueError with a text for the user."""
    return _to_address(value, bind=True)


def to_backend_address(value: object) -> str:
    """A backend's address in its one normal form; raises ValueError with a text for the user."""
    return _to_address(value, bind=False)


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
    WithJsonSchema({"type": "string", "pattern": _NAME_PATTERN, "examples": ["web"]}),
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
BindAddress = Annotated[
    str,
    BeforeValidator(to_bind_address),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^[^/]*:[0-9]{1,5}$",
            "examples": ["127.0.0.1:9090", "[::1]:9090", ":9090"],
        }
    ),
]
BackendAddress = Annotated[
    str,
    BeforeValidator(to_backend_address),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^[^/]+:[0-9]{1,5}$",
            "examples": ["127.0.0.1:8081", "[::1]:8081", "db.internal:5432"],
        }
    ),
]
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

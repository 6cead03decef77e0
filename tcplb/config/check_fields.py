"""The types of settings of active checks: what is sent, and what answer passes."""

from __future__ import annotations

import re
import warnings
from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from tcplb.config.wording import printable, quote, show

_STATUSES_PATTERN = r"[1-9][0-9]{2}(-[1-9][0-9]{2})?(,[1-9][0-9]{2}(-[1-9][0-9]{2})?)*"


def _to_statuses(value: object) -> str:
    wrong = f'must be HTTP statuses such as "200" or "200-299,304" (got {show(value)})'
    if not isinstance(value, str) or not re.fullmatch(_STATUSES_PATTERN, value):
        raise ValueError(wrong)
    for part in value.split(","):
        first, _, last = part.partition("-")
        if int(first) > int(last or first):
            raise ValueError(wrong)
    return value


def _to_bytes_text(value: object) -> str:
    if not isinstance(value, str) or (not value.isascii() and max(value) > "\xff"):
        raise ValueError(
            "must be a string of characters up to \\u00ff, each of which is a byte "
            f"(got {show(value)})"
        )
    return value


def _to_pattern(value: object) -> str:
    text = _to_bytes_text(value)
    try:
        with warnings.catch_warnings(action="error"):  # what may mean another thing one day
            re.compile(text.encode("latin-1"))
    except (re.error, Warning, OverflowError, RecursionError) as error:
        reason = f"must be a regular expression: {printable(str(error))}"
        raise ValueError(f"{reason} (got {quote(text)})") from None
    return text


def _to_http_token(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Z]+", value):
        raise ValueError(f'must be a method such as "GET" or "HEAD" (got {show(value)})')
    return value


def _to_http_text(value: object) -> str:
    """Nothing that would end a line or a field of a request."""
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]*", value):
        raise ValueError(f"must be printable ASCII without spaces (got {show(value)})")
    return value


def to_http_path(value: object) -> str:
    text = _to_http_text(value)
    if not text.startswith("/"):
        raise ValueError(f"must begin with a slash (got {quote(text)})")
    return text


Statuses = Annotated[
    str,
    PlainValidator(_to_statuses),
    WithJsonSchema(
        {"type": "string", "pattern": f"^{_STATUSES_PATTERN}$", "examples": ["200-299,304"]}
    ),
]
BytesText = Annotated[str, PlainValidator(_to_bytes_text), WithJsonSchema({"type": "string"})]
Pattern = Annotated[
    str, PlainValidator(_to_pattern), WithJsonSchema({"type": "string", "format": "regex"})
]
HttpMethod = Annotated[
    str,
    PlainValidator(_to_http_token),
    WithJsonSchema({"type": "string", "pattern": "^[A-Z]+$", "examples": ["GET", "HEAD"]}),
]
HttpText = Annotated[
    str, PlainValidator(_to_http_text), WithJsonSchema({"type": "string", "pattern": "^[!-~]*$"})
]
HttpPath = Annotated[
    str, PlainValidator(to_http_path), WithJsonSchema({"type": "string", "pattern": "^/[!-~]*$"})
]

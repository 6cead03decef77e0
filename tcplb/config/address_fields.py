"""The types of settings that are addresses, and of rules about them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema

from tcplb.config.units import format_address, parse_address
from tcplb.config.wording import printable, quote, show
from tcplb.policy.access_list import parse_access_rule

_LONGEST_REASON = 200


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


def _to_access_rule(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - pydantic collects ValueErrors, not TypeErrors
            f'must be a rule in quotes, such as "allow 10.0.0.0/8" (got {show(value)})'
        )
    try:
        return str(parse_access_rule(value))
    except ValueError as error:
        raise ValueError(
            f"{printable(str(error)[:_LONGEST_REASON])} (got {quote(value)})"
        ) from None


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
AccessRuleText = Annotated[
    str,
    PlainValidator(_to_access_rule),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^(allow|deny) +([0-9A-Fa-f:./]+|all)$",
            "examples": ["allow 10.0.0.0/8", "deny all"],
        }
    ),
]

"""The types of settings of a pool: how it chooses a backend."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from tcplb.config.wording import one_of, quote, show
from tcplb.policy.names import HashKey, StrategyName, names_function, parse_key_rule

MAX_TABLE = 10_000_019


def _to_strategy(value: object) -> str:
    if isinstance(value, str):
        if value in list(StrategyName) or names_function(value):
            return str(value)
        if ":" in value:
            raise ValueError(f"must be a strategy or module:function (got {quote(value)})")
    raise ValueError(one_of([*StrategyName, "module:function"], value))


def _to_hash_key(value: object) -> str:
    try:
        if isinstance(value, str):
            return str(parse_key_rule(value))
    except ValueError:
        pass
    if isinstance(value, str) and value.startswith("client/"):
        raise ValueError(
            "must have prefix lengths as in client/24 (IPv4), client/64 (IPv6) or client/24/64 "
            f"(got {quote(value)})"
        )
    raise ValueError(one_of([*HashKey, "client/24", "client/64"], value))


def _to_balance_factor(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or (value != 0 and value <= 100):
        raise ValueError(f"must be 0 (off) or a percentage over 100 (got {show(value)})")
    return value


def _to_table_size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= MAX_TABLE:
        raise ValueError(f"must be a prime number up to {MAX_TABLE} (got {show(value)})")
    if any(value % divisor == 0 for divisor in range(2, math.isqrt(value) + 1)):
        raise ValueError(f"must be a prime number (got {show(value)})")
    return value


Strategy = Annotated[
    str,
    PlainValidator(_to_strategy),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": [name.value for name in StrategyName]},
                {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*$"},
            ]
        }
    ),
]
HashKeyText = Annotated[
    str,
    PlainValidator(_to_hash_key),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": [key.value for key in HashKey]},
                {"type": "string", "pattern": "^client(/[0-9]{1,3}){1,2}$"},
            ]
        }
    ),
]
BalanceFactor = Annotated[
    int,
    PlainValidator(_to_balance_factor),
    WithJsonSchema({"anyOf": [{"const": 0}, {"type": "integer", "exclusiveMinimum": 100}]}),
]
TableSize = Annotated[
    int,
    PlainValidator(_to_table_size),
    WithJsonSchema({"type": "integer", "minimum": 2, "maximum": MAX_TABLE}),
]

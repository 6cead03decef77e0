"""A short name for how a pool places its keys, to compare balancers by.

Two balancers that show the same one send every key to the same backend, as long as all backends are
usable and have room; whichever fail, they also agree on who is next. It does not hold the other way
round: weights 1, 1 and 2, 2 place alike in some strategies, and have different fingerprints.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby

from xxhash import xxh64_hexdigest

from tcplb.policy.backend import Backend
from tcplb.policy.names import KeyRule, StrategyName

PLACEMENT = 1
"""The version of the placement itself: to be raised by whoever changes where any key goes."""

_KEYED = frozenset({StrategyName.HASH, StrategyName.MAGLEV, StrategyName.RENDEZVOUS})


def fingerprint(
    strategy: str, key_rule: KeyRule, table_size: int, backends: Sequence[Backend]
) -> str:
    """Return 16 hexadecimal digits: xxHash64 over all that placement depends on.

    That is the strategy, what it takes as the key, the size of a Maglev table, and the names and
    weights of the backends by tier. It is not their order or addresses, nor those of weight 0,
    which get no key. Returns "" if the strategy places no keys, or if it is a function of the
    user's own, because nobody can tell what that one depends on.
    """
    if strategy not in _KEYED:
        return ""
    has_table = strategy == StrategyName.MAGLEV
    parts = (
        PLACEMENT,
        str(StrategyName(strategy)),
        str(key_rule),
        table_size if has_table else None,
        _members(backends),
    )
    # JSON has quotes and brackets, so no two different parts ever become the same text.
    return xxh64_hexdigest(json.dumps(parts).encode())


def _members(backends: Sequence[Backend]) -> list[list[tuple[str, int]]]:
    """Return the (name, weight) of each tier in its turn; the tiers' own numbers do not matter."""
    weighted = sorted(
        (each for each in backends if each.weight > 0), key=lambda each: (each.tier, each.name)
    )
    return [
        [(each.name, each.weight) for each in tier]
        for _, tier in groupby(weighted, key=lambda each: each.tier)
    ]

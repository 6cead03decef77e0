"""Consistent hashing with bounded loads: how many connections a backend may have.

Source: Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018. The
formula, with its rounding, is that of HAProxy's ``hash-balance-factor`` (``lb_chash.c``).
"""

from __future__ import annotations


def slots(connections: int, factor: int, weight: int, total_weight: int, before: int) -> int:
    """Return the most connections of a backend of `weight`.

    `connections` are all of the pool, the one that is to be placed included; `factor` is the most
    load in percent of the average, more than 100. Nobody has less than 1 slot. `before` is the
    weight of those that come before this one in the list: by it the slots are rounded such that
    those of all together are no fewer than `connections`, so that somebody always has one left.
    """
    total = -(-connections * factor // 100)  # rounded up
    share = max(1, total_weight)
    return max(1, total * (before + weight) // share - total * before // share)

"""Maglev hashing: a table of backends, indexed by the key's hash.

Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
section 3.4. Each backend prefers the slots of the table in an order of its own; by turns, each
takes the slot that it likes best of those left, until none is. A backend of weight w has a turn in
w of every W rounds, W being the largest weight.

The shares are nearer to the weights than a ring's, to within a slot or two, at the price that a
backend that leaves also moves a few keys of others. The table is a pure function of names, weights,
its size and the seeds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import cycle
from typing import Self

from xxhash import xxh64_intdigest

from tcplb.policy.backend import Backend

TABLE_SIZE = 65537
"""Slots by default, as in the paper: with 100 backends, a slot is 0.15 % of a share."""
SEED = 0
_OFFSET_SEED = 1
_SKIP_SEED = 2


class Maglev:
    """Yields backends along the table, from the key's slot on. A look-up costs one hash."""

    keyed = True
    by_load = False

    def __init__(self, backends: Sequence[Backend], table_size: int = TABLE_SIZE) -> None:
        """Fill a table of `table_size` slots, a prime; it should be 100 times the backends.

        Raises ValueError if it is not a prime.
        """
        for _ in self._build(backends, table_size):
            pass

    @classmethod
    def in_steps(
        cls, backends: Sequence[Backend], table_size: int = TABLE_SIZE
    ) -> Generator[None, None, Self]:
        """Make one in small steps, for whoever has other things to do between them."""
        maglev = cls.__new__(cls)
        yield from maglev._build(backends, table_size)
        return maglev

    def _build(self, backends: Sequence[Backend], table_size: int) -> Iterator[None]:
        if not is_prime(table_size):
            raise ValueError(f"a Maglev table's size must be a prime, not {table_size}")
        # By name: who takes turns before whom must not depend on the order in the config.
        self._backends = sorted(
            (backend for backend in backends if backend.weight > 0),
            key=lambda backend: backend.name,
        )
        self._table = yield from _fill(self._backends, table_size)

    def order(self, key: bytes = b"", now: float = 0.0) -> Iterator[Backend]:
        """Yield each backend once: the owner of `key`, then the next distinct ones in the table.

        The walk ends after one lap at the latest.
        """
        table = self._table
        if not table:
            return
        start = xxh64_intdigest(key, SEED) % len(table)
        owner = table[start]
        yield owner  # nearly always the only one that is asked for
        seen = {owner.name}
        for slot in range(start + 1, start + len(table)):
            if len(seen) == len(self._backends):
                return
            backend = table[slot % len(table)]
            if backend.name not in seen:
                seen.add(backend.name)
                yield backend
        # More backends than slots, or one that is too light for a slot.
        yield from [backend for backend in self._backends if backend.name not in seen]

    def shares(self) -> Mapping[str, float]:
        """Return the fraction of the table that each backend has, by name."""
        slots = Counter(backend.name for backend in self._table)
        return {backend.name: slots[backend.name] / len(self._table) for backend in self._backends}


def is_prime(number: int) -> bool:
    """Return whether `number` is a prime; by trial division, O(√number)."""
    if number < 4:
        return number >= 2
    return number % 2 == 1 and all(number % odd for odd in range(3, int(number**0.5) + 1, 2))


def _fill(backends: Sequence[Backend], size: int) -> Generator[None, None, list[Backend]]:
    """Return the table, or an empty one if there is no backend.

    A backend tries size / (slots left) of the slots it likes to find one that is free, so all of
    them together try about size × ln(size), however many they are.
    """
    if not backends:
        return []
    table: list[Backend | None] = [None] * size
    places = [_place(backend, size) for backend in backends]
    skips = [_skip(backend, size) for backend in backends]
    turns = cycle(_turns(backends))
    for turn in range(size):
        if turn % 500 == 0:
            yield
        index = next(turns)
        place, skip = places[index], skips[index]
        while table[place] is not None:
            place = (place + skip) % size
        table[place] = backends[index]
        places[index] = place
    return [backend for backend in table if backend is not None]


def _turns(backends: Sequence[Backend]) -> Iterator[int]:
    """Yield whose turn it is, over a whole cycle: by weight, and to within one turn at any time."""
    largest = max(backend.weight for backend in backends)
    for number in range(largest):
        for index, backend in enumerate(backends):
            # In the first round, so that a light one has a slot too, and then as often as
            # number × weight / largest reaches or passes another whole number.
            if (number * backend.weight) % largest < backend.weight:
                yield index


def _place(backend: Backend, size: int) -> int:
    return xxh64_intdigest(backend.name.encode(), _OFFSET_SEED) % size


def _skip(backend: Backend, size: int) -> int:
    # From 1 to size - 1. The size is a prime, so every such step visits all slots.
    return xxh64_intdigest(backend.name.encode(), _SKIP_SEED) % (size - 1) + 1

"""`python -m bench.disruption`: how many keys move when backends change, by consistent strategy.

Everything is counted over the same keys, and placement is a pure function of names and keys, so
the table is the same on every machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tcplb.policy.backend import Backend
from tcplb.policy.maglev import TABLE_SIZE, Maglev
from tcplb.policy.rendezvous import Rendezvous
from tcplb.policy.ring import POINTS_PER_WEIGHT, HashRing

KEYS = tuple(b"203.0.%d.%d" % divmod(client, 256) for client in range(20_000))
SIZES = (10, 100)

Keyed = HashRing | Maglev | Rendezvous
STRATEGIES: dict[str, Callable[[Sequence[Backend]], Keyed]] = {
    f"ring ({POINTS_PER_WEIGHT} points)": HashRing,
    f"maglev ({TABLE_SIZE} slots)": Maglev,
    "rendezvous": Rendezvous,
}


@dataclass(frozen=True, slots=True)
class Change:
    """One change to a list of backends."""

    title: str
    after: list[Backend]
    minimum: float
    """The smallest share of the keys that has to move if shares are to be by weight."""


def changes(backends: Sequence[Backend]) -> Iterator[Change]:
    """Yield what is done to `backends`, which are of weight 1."""
    size, middle = len(backends), len(backends) // 2
    doubled = Backend(backends[middle].name, "127.0.0.1", 80, 2)
    before, after = backends[:middle], backends[middle + 1 :]
    yield Change("one removed", [*before, *after], 1 / size)
    yield Change("one added", [*backends, _backend(size)], 1 / (size + 1))
    yield Change("one doubled", [*before, doubled, *after], 2 / (size + 1) - 1 / size)


def moved(before: Sequence[str], after: Sequence[str]) -> float:
    """Return the share of keys whose owner has changed."""
    pairs = zip(before, after, strict=True)
    return sum(one != other for one, other in pairs) / len(before)


def imbalance(owners: Sequence[str], backends: int) -> float:
    """Return the keys of the backend that has most, over the mean."""
    return max(Counter(owners).values()) * backends / len(owners)


def table(sizes: Sequence[int] = SIZES, keys: Sequence[bytes] = KEYS) -> str:
    """Return the comparison as a Markdown table."""
    header = ["backends", "strategy", "max/mean of keys", "max/mean of shares"]
    header += [change.title for change in changes([_backend(0)])]
    lines = [line for size in sizes for line in _lines(size, keys)]
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _lines(size: int, keys: Sequence[bytes]) -> Iterator[list[str]]:
    backends = [_backend(number) for number in range(size)]
    for title, make in STRATEGIES.items():
        strategy = make(backends)
        owners = _owners(strategy, keys)
        line = [str(size), title, f"{imbalance(owners, size):.3f}"]
        line.append(f"{max(strategy.shares().values()) * size:.3f}")
        for change in changes(backends):
            share = moved(owners, _owners(make(change.after), keys))
            line.append(f"{share:.2%}")
        yield line
    least = [f"{change.minimum:.2%}" for change in changes(backends)]
    yield [str(size), "*the least possible*", "1", "1", *least]


def _owners(strategy: Keyed, keys: Sequence[bytes]) -> list[str]:
    return [next(strategy.order(key)).name for key in keys]


def _backend(number: int) -> Backend:
    return Backend(f"10.0.0.{number + 1}:80", "127.0.0.1", 80)


if __name__ == "__main__":
    print(table())

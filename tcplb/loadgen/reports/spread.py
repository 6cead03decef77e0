"""How evenly the work was spread over the backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tcplb.loadgen.tally import Served


def complete(backends: Mapping[str, Served], known: Sequence[str]) -> dict[str, Served]:
    """Return the backends by name, those included that are known and got nothing."""
    everyone = {name: Served() for name in known} | dict(backends)
    return dict(sorted(everyone.items()))


def imbalance(backends: Mapping[str, Served]) -> float | None:
    """Return the most requests of one backend over their mean: 1.0 is even, None without any."""
    requests = [served.requests for served in backends.values()]
    total = sum(requests)
    return max(requests) * len(requests) / total if total else None

"""What a strategy that goes by load looks at: connections open, and weights as they are now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tcplb.policy.backend import Backend
from tcplb.policy.occupancy import Occupancy


class Load:
    """How busy the backends of one strategy are, by the backend's index in the strategy's own list.

    Both lists change behind the strategy's back: `counts` in every worker, `weights` by the pool.
    """

    def __init__(
        self, backends: Sequence[Backend], occupancy: Occupancy, positions: Sequence[int]
    ) -> None:
        """Look at `backends`; the i-th is counted at `positions[i]` of `occupancy`."""
        if len(positions) != len(backends):
            raise ValueError(f"{len(backends)} backends at {len(positions)} positions")
        self.counts: list[Callable[[], int]] = [occupancy.counter(one) for one in positions]
        """Each returns the connections open on its backend, of all workers together."""
        self.weights: list[float] = [float(backend.weight) for backend in backends]
        """Effective weights: less than the configured one while a backend is coming back. More
        than 0 for every backend whose configured weight is."""


def shares_by_weight(backends: Sequence[Backend]) -> Mapping[str, float]:
    """Return weight / total weight by name, of the backends of positive weight."""
    total = sum(backend.weight for backend in backends)
    return {backend.name: backend.weight / total for backend in backends if backend.weight > 0}

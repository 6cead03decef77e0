"""A pool that serves nobody: to ask where connections would go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from tcplb.control.build import build_pool
from tcplb.control.plan import PoolPlan
from tcplb.policy.occupancy import LocalOccupancy, Occupancy
from tcplb.policy.pool import Pool


class SupposedOccupancy(LocalOccupancy):
    """Counts that do not begin at 0."""

    def __init__(self, active: Sequence[int]) -> None:
        """Suppose that `active` leases are out, by the backend's position."""
        super().__init__(len(active))
        self._active[:] = active
        self._total = sum(active)


def rehearsal_pool(
    plan: PoolPlan,
    *,
    seed: int = 0,
    occupancy: Occupancy | None = None,
    failed: Callable[[str], None] | None = None,
) -> Pool:
    """Return the pool of `plan` as `build_pool` does, but with the same chances every time.

    `failed` hears why, whenever a strategy of the user's own gives nothing that can be used.
    Raises StrategyError if that cannot be loaded.
    """
    occupancy = occupancy or LocalOccupancy(len(plan.backends))
    return build_pool(plan, occupancy, failed or _ignore, Random(seed))


def _ignore(_reason: str) -> None:
    pass

"""The first backend that has room, so that the others may stay idle, or be switched off.

Source: HAProxy's ``first``. Give each backend `max_connections`, or the first one gets everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tcplb.policy.backend import Backend


class First:
    """Yields backends in the order given, O(1) for each. That the full ones are skipped is up to
    the pool.
    """

    keyed = False
    by_load = False

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._backends = [backend for backend in backends if backend.weight > 0]

    def order(self, key: bytes = b"", now: float = 0.0) -> Iterator[Backend]:
        """Return the backends, always in the same order."""
        return iter(self._backends)

    def shares(self) -> Mapping[str, float]:
        """Return 1 for the first backend and 0 for the others: what they get while it has room."""
        return {
            backend.name: 1.0 if rank == 0 else 0.0 for rank, backend in enumerate(self._backends)
        }

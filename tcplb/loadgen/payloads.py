"""Random payloads, each unlike the last ones, so that bytes of another exchange are noticed."""

from __future__ import annotations

from random import Random

_STEP = 7919
"""Bytes between the beginnings of two payloads; a prime, so that they differ for a long time."""
_POOL = 1 << 20


class Payloads:
    """Payloads of `size` bytes, cut out of a pool of random bytes."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self._pool = Random(seed).randbytes(_POOL + size)
        self._at = 0

    def next(self) -> bytes:
        """Return the next payload."""
        self._at = (self._at + _STEP) % _POOL
        return self._pool[self._at : self._at + self.size]

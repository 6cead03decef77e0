"""How long a worker that keeps dying is left alone before it is started again."""

from __future__ import annotations

HEALTHY_LIFE = 5.0
"""Seconds of service after which a death says nothing of the next start."""

_FIRST_DELAY = 0.25
_LONGEST_DELAY = 30.0


class Backoff:
    """Counts the early deaths in a row of one worker and its replacements."""

    def __init__(self) -> None:
        self._early_deaths = 0
        self.delay = 0.0
        """What the last death cost, in seconds."""

    def after_death(self, served: float | None) -> float:
        """Return the seconds to wait before the next start.

        `served` is how long the worker had been ready, in seconds, or None if it never was. The
        n-th early death in a row costs ``min(0.25 * 2 ** (n - 1), 30)`` seconds; the death of one
        that had a healthy life costs none.
        """
        if served is not None and served >= HEALTHY_LIFE:
            self._early_deaths = 0
            self.delay = 0.0
            return self.delay
        self._early_deaths += 1
        doublings = min(self._early_deaths - 1, 10)  # beyond that the number only overflows
        self.delay = min(_FIRST_DELAY * 2**doublings, _LONGEST_DELAY)
        return self.delay

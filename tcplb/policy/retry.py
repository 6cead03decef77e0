"""How often a session tries again, and how many sessions may be doing so at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How many backends one session tries, and how large the retry budget is."""

    attempts: int = 0
    """The most dials of one session; 0 for one to each backend."""
    budget_percent: int = 20
    """Sessions that may be trying again at once, in percent of those that are open."""
    budget_min: int = 3
    """How many may be trying again however few are open."""

    def allows(self, attempts: int) -> bool:
        """Whether a session that has dialled `attempts` times may do so once more."""
        return not self.attempts or attempts < self.attempts


class RetryBudget:
    """Bounds the dials that are second or later tries, so that an outage is not multiplied.

    Source: Envoy's retry budgets (``retry_budget`` of a circuit breaker); 20 % and 3 are its
    defaults. Counted in this process.
    """

    __slots__ = ("_min", "_percent", "retrying")

    def __init__(self, policy: RetryPolicy) -> None:
        self.follow(policy)
        self.retrying = 0
        """Retries that are under way."""

    def follow(self, policy: RetryPolicy) -> None:
        """Go by another policy from now on."""
        self._percent = policy.budget_percent
        self._min = policy.budget_min

    def has_room(self, active: int) -> bool:
        """Whether one more may begin while `active` sessions are open."""
        return self.retrying < self._min or (self.retrying + 1) * 100 <= active * self._percent

    def try_begin(self, active: int) -> bool:
        """Begin a retry, if there is room for it."""
        if not self.has_room(active):
            return False
        self.retrying += 1
        return True

    def end(self) -> None:
        """The dial of a retry is over."""
        self.retrying -= 1

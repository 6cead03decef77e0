"""What a pool goes by besides its strategy."""

from __future__ import annotations

from dataclasses import dataclass, field

from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.names import KeyRule
from tcplb.policy.queue import QueuePolicy
from tcplb.policy.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class PoolRules:
    """What a pool goes by besides its strategy."""

    key_rule: KeyRule = field(default_factory=KeyRule)
    hash_balance_factor: int = 0
    """The most load of a backend in percent of the average, for keyed strategies; 0: no bound."""
    slow_start: float = 0.0
    """Seconds in which the weight of a backend that has come back grows; 0: at once."""
    panic_threshold: int = 0
    """Percent of a tier's backends; if fewer are usable, all are used."""
    eject: EjectPolicy = field(default_factory=EjectPolicy)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    queue: QueuePolicy = field(default_factory=QueuePolicy)

"""Passive health: who is ejected after failed connects, for how long, and how it comes back.

::

              `failures` failures in a row, and another backend is usable
      ┌──────┐ ─────────────────────────────────────────────────────────▶ ┌─────────┐
      │  IN  │                                                            │ EJECTED │ ◀─┐
      └──────┘ ◀──────────────────────────────────────────────────┐      └─────────┘   │
          any connect that succeeds                               │     time is over │   │ the trial
                                                                  │                ▼ │   │ failed:
                                                                  │      ┌──────────┐    │ longer
                                                                  └───── │ ON_TRIAL │ ───┘
                                                                         └──────────┘

The tracker is told what happened and when; it reads no clock and draws from the `Random` it is
given, so a test needs neither sleep nor patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random

from tcplb.policy.outcome import Outcome


@dataclass(frozen=True, slots=True)
class EjectPolicy:
    """When to eject, and for how long. Times are in seconds.

    The n-th ejection in a row lasts ``min(base_time + (n - 1) * step, max_time)``, times a random
    factor within 1 ± `jitter`, so that many balancers do not come back in the same instant.
    """

    failures: int = 3
    base_time: float = 5.0
    step: float = 5.0
    max_time: float = 60.0
    jitter: float = 0.1

    def duration(self, ejections: int, rng: Random) -> float:
        """Return the length in seconds of ejection number `ejections` in a row (from 1)."""
        seconds = min(self.base_time + (ejections - 1) * self.step, self.max_time)
        return seconds * rng.uniform(1 - self.jitter, 1 + self.jitter)


class State(Enum):
    """What passive health says of a backend."""

    IN = "in"
    EJECTED = "ejected"
    ON_TRIAL = "on trial"


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state that is worth a log line, with the evidence for it."""

    backend: str
    state: State
    reason: str

    def __str__(self) -> str:
        return f"backend {self.backend} {self.reason}"


class FailureTracker:
    """The consecutive-failure tracker of one backend. All times are seconds of one clock."""

    def __init__(self, name: str, policy: EjectPolicy) -> None:
        self._name = name
        self._policy = policy
        self.state = State.IN
        self._failures = 0
        self._first_failure_at = 0.0
        self._last_success_at = float("-inf")
        self._ejections = 0
        self._ejected_until = 0.0

    def admits(self, now: float) -> bool:
        """Whether a connection may be sent there: it is in, or its trial is due."""
        return self.state is State.IN or self.trial_due(now)

    def trial_due(self, now: float) -> bool:
        """Whether the ejection is over and nobody has been sent to try yet."""
        return self.state is State.EJECTED and now >= self._ejected_until

    def begin_trial(self) -> None:
        """Let one connection through; the rest pass by until `observe` hears how it went."""
        self.state = State.ON_TRIAL

    def observe(
        self,
        outcome: Outcome,
        *,
        started_at: float,
        now: float,
        trial: bool,
        may_eject: bool,
        rng: Random,
    ) -> Transition | None:
        """Record how a dial begun at `started_at` ended, and return the change it caused, if any.

        `trial` says that this dial was the trial. `may_eject` is False for the last usable backend
        of a pool: its failures are counted, but it stays in.
        """
        if outcome is Outcome.CONNECTED:
            return self._succeed(now)
        # A trial that hung while another connect brought the backend back is not the one that is
        # out now.
        trial = trial and self.state is State.ON_TRIAL and started_at > self._last_success_at
        if not outcome.blames_backend:
            if trial:
                self.state = State.EJECTED  # nothing was learnt: the next connection may try
            return None
        if trial:
            return self._eject(now, rng, f"its trial connect was {outcome.value}")
        # A dial begun before the last success is old news: a backend that was out for a moment
        # must not be ejected when the dials of that moment time out one by one.
        if self.state is not State.IN or started_at < self._last_success_at:
            return None
        return self._fail(outcome, started_at, now, may_eject=may_eject, rng=rng)

    def _succeed(self, now: float) -> Transition | None:
        was = self.state
        self.state = State.IN
        self._failures = 0
        self._ejections = 0
        self._last_success_at = now
        if was is State.IN:
            return None
        return Transition(self._name, State.IN, "is back: a connect succeeded")

    def _fail(
        self, outcome: Outcome, started_at: float, now: float, *, may_eject: bool, rng: Random
    ) -> Transition | None:
        if self._failures == 0:
            self._first_failure_at = started_at
        self._failures += 1
        if self._failures < self._policy.failures or not may_eject:
            return None
        took = (now - self._first_failure_at) * 1000
        evidence = f"{self._failures} connects in a row failed in {took:.0f} ms, the last one "
        return self._eject(now, rng, evidence + outcome.value)

    def _eject(self, now: float, rng: Random, evidence: str) -> Transition:
        self._ejections += 1
        seconds = self._policy.duration(self._ejections, rng)
        self._ejected_until = now + seconds
        self.state = State.EJECTED
        self._failures = 0
        return Transition(self._name, State.EJECTED, f"ejected for {seconds:.1f} s: {evidence}")

"""Passive health: who is ejected after failed connects, for how long, and how it comes back.

::

              `failures` in a row, or too many in the window; and `Pool` lets it
      ┌──────┐ ─────────────────────────────────────────────────────────▶ ┌─────────┐
      │  IN  │                                                            │ EJECTED │ ◀─┐
      └──────┘ ◀──────────────────────────────────────────────────┐      └─────────┘   │
          any connect that succeeds, or a check                   │     time is over │   │ the trial
                                                                  │                ▼ │   │ failed:
                                                                  │      ┌──────────┐    │ longer
                                                                  └───── │ ON_TRIAL │ ───┘
                                                                         └──────────┘

The tracker is told what happened and when; it reads no clock and draws from the `Random` it is
given, so a test needs neither sleep nor patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from random import Random

from tcplb.policy.outcome import Outcome
from tcplb.policy.transition import State, Transition
from tcplb.policy.window import FailureWindow

LEARNT_GRACE = 1.0
"""Seconds that other processes leave to the one that ejected a backend, to try it first."""


@dataclass(frozen=True, slots=True)
class EjectPolicy:
    """When to eject, and for how long. Times are in seconds.

    The n-th ejection in a row lasts ``min(base_time + (n - 1) * step, max_time)``, times a random
    factor within 1 ± `jitter`, so that many balancers do not come back in the same instant.
    """

    failures: int = 3
    """Failures in a row that eject; 0 for never by this rule."""
    failure_rate: float = 0.0
    """The part of the connects within `window` seconds that fail and so eject; 0 for never."""
    window: float = 10.0
    min_connects: int = 20
    """Connects that the window must have before the rate says anything."""
    first_byte: bool = False
    """Whether a connection that the backend ends before its first byte is a failure too."""
    max_ejected_percent: int = 50
    """The most backends of a pool that may be out at once; see `Pool`."""
    base_time: float = 5.0
    step: float = 5.0
    max_time: float = 60.0
    jitter: float = 0.1

    def duration(self, ejections: int, rng: Random) -> float:
        """Return the length in seconds of ejection number `ejections` in a row (from 1)."""
        seconds = min(self.base_time + (ejections - 1) * self.step, self.max_time)
        return seconds * rng.uniform(1 - self.jitter, 1 + self.jitter)


_IN = State.IN  # in Python 3.11, reading a member off its enum takes 120 ns


class FailureTracker:
    """The consecutive-failure tracker of one backend. All times are seconds of one clock."""

    __slots__ = (
        "_back_at",
        "_ejections",
        "_evidence_at",
        "_failures",
        "_first_failure_at",
        "_last_success_at",
        "_name",
        "_policy",
        "_trial_due_at",
        "_window",
        "state",
    )

    def __init__(self, name: str, policy: EjectPolicy) -> None:
        self._name = name
        self._policy = policy
        self.state = State.IN
        self._failures = 0
        self._first_failure_at = 0.0
        self._last_success_at = -inf
        self._back_at = -inf
        self._ejections = 0
        self._evidence_at = -inf  # how old the evidence is that it is out or on trial
        self._trial_due_at = inf  # if it is not in; inf while a trial of this process is out
        self._window = FailureWindow(policy.window) if policy.failure_rate else None

    def follow(self, policy: EjectPolicy) -> None:
        """Go by another policy from now on. An ejection that is in force ends when it was to."""
        if policy.failure_rate and policy.window != self._policy.window:
            self._window = None  # what it has counted cannot be divided anew
        self._policy = policy
        if not policy.failure_rate:
            self._window = None
        elif self._window is None:
            self._window = FailureWindow(policy.window)

    def admits(self, now: float) -> bool:
        """Whether a connection may be sent there: it is in, or its trial is due."""
        return self.state is _IN or now >= self._trial_due_at

    def trial_due(self, now: float) -> bool:
        """Whether the ejection is over and nobody has been sent to try yet."""
        return self.state is not _IN and now >= self._trial_due_at

    def begin_trial(self) -> None:
        """Let one connection through; the rest pass by until `observe` hears how it went."""
        self.state = State.ON_TRIAL
        self._trial_due_at = inf

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
            return self.succeed(now)
        # A trial that hung while another connect brought the backend back, or while it was ejected
        # anew, is not the one that is out now.
        trial = trial and self.state is State.ON_TRIAL and started_at > self._evidence_at
        if not outcome.blames_backend:
            if trial:  # nothing was learnt: the next connection may try
                self.state = State.EJECTED
                self._trial_due_at = now
            return None
        if trial:
            return self._eject(started_at, now, rng, f"its trial connect was {outcome.value}")
        if self.state is not State.IN or started_at < self._back_at:
            return None
        return self._fail(outcome, started_at, now, may_eject=may_eject, rng=rng)

    def succeed(self, now: float, *, proven: bool = True) -> Transition | None:
        """Record that a dial connected, and return the change it caused, if any.

        One that is not `proven` to work, because its first byte is yet to come, comes back as well.
        But its next ejection is longer all the same, or it would be back every few seconds.
        """
        self._failures = 0
        self._last_success_at = now
        if self._window is not None:
            self._window.add(now, failed=False)
        if proven:
            self._ejections = 0
        if self.state is _IN:
            return None
        self._come_back(now)
        return Transition(self._name, State.IN, "is back: a connect succeeded", at=now)

    def learn(self, news: Transition, *, now: float, may_eject: bool) -> bool:
        """Take over the verdict of another process; return whether it was news here.

        Of two verdicts the one with the later evidence counts, in whatever order they come. The
        process that reached it has the first go: what is learnt holds here `LEARNT_GRACE` longer,
        and not for ever, in case that process has no traffic or has died.
        """
        if news.at < max(self._last_success_at, self._evidence_at):
            return False
        match news.state:
            case State.IN:
                return self._learn_return(news)
            case State.EJECTED:
                return now < news.until and self._learn_ejection(news, may_eject=may_eject)
            case State.ON_TRIAL:
                return now < news.until and self._learn_trial(news)
            case _:
                return False  # of the operator or of active checks: not for here

    def _learn_return(self, news: Transition) -> bool:
        self._last_success_at = news.at
        self._ejections = 0
        if self.state is State.IN:
            return False
        self._come_back(news.at)
        return True

    def _learn_ejection(self, news: Transition, *, may_eject: bool) -> bool:
        if self.state is State.IN and not may_eject:
            return False
        self.state = State.EJECTED
        self._forget_failures()
        self._ejections = news.ejections
        self._pass_by(news)
        return True

    def _learn_trial(self, news: Transition) -> bool:
        # A trial that failed is told of with the time of its beginning: then that it had begun is
        # old news. And our own trial has an end of its own, which is better evidence.
        over = news.at == self._evidence_at
        own_is_out = self._trial_due_at == inf
        if over or own_is_out or self.state is State.IN:
            return False
        self.state = State.ON_TRIAL
        self._pass_by(news)
        return True

    def _pass_by(self, news: Transition) -> None:
        self._evidence_at = news.at
        self._trial_due_at = news.until + LEARNT_GRACE

    def _forget_failures(self) -> None:
        self._failures = 0
        if self._window is not None:
            self._window.clear()

    def _come_back(self, at: float) -> None:
        self.state = State.IN
        self._back_at = at  # dials begun before say nothing of it any more

    def _fail(
        self, outcome: Outcome, started_at: float, now: float, *, may_eject: bool, rng: Random
    ) -> Transition | None:
        if self._window is not None:
            self._window.add(now, failed=True)
        # A dial begun before the last success is old news for the row: a backend that was out for a
        # moment must not be ejected when the dials of that moment time out one by one. For the rate
        # it counts: where some connect and some time out, each time-out is as old as that.
        if started_at >= self._last_success_at:
            if self._failures == 0:
                self._first_failure_at = started_at
            self._failures += 1
        elif self._window is None:
            return None
        evidence = self._evidence(now) if may_eject else None
        if evidence is None:
            return None
        began = max(started_at, self._last_success_at)
        return self._eject(began, now, rng, f"{evidence}, the last one {outcome.value}")

    def _evidence(self, now: float) -> str | None:
        """Return what speaks for an ejection, if it is enough."""
        policy = self._policy
        if policy.failures and self._failures >= policy.failures:
            took = (now - self._first_failure_at) * 1000
            return f"{self._failures} connects in a row failed in {took:.0f} ms"
        if self._window is None:
            return None
        failed, total = self._window.counts(now)
        if total < policy.min_connects or failed < policy.failure_rate * total:
            return None
        return f"{failed} of {total} connects failed within {policy.window:g} s"

    def _eject(self, started_at: float, now: float, rng: Random, evidence: str) -> Transition:
        self._ejections += 1
        seconds = self._policy.duration(self._ejections, rng)
        self.state = State.EJECTED
        self._forget_failures()
        self._evidence_at = started_at
        self._trial_due_at = now + seconds
        return Transition(
            self._name,
            State.EJECTED,
            f"ejected for {seconds:.1f} s: {evidence}",
            until=self._trial_due_at,
            ejections=self._ejections,
            at=started_at,
        )

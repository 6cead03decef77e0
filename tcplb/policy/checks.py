"""Active health: what a row of checks says of a backend, and when the next check is due.

The tracker is told how each check went; who connects, sends and reads is `control.checks`. Times
are seconds of one clock, and random numbers come from the `Random` that is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Self

from tcplb.policy.transition import Checked, Transition

JITTER = 0.1
"""How much the time to the next check varies, as a part of it: checks drift out of step."""


class CheckTracker:
    """Counts the checks of one backend: `fall` failures in a row make it down, `rise` passes up.

    It starts up: until a check has failed, nothing speaks against a backend.
    """

    __slots__ = ("_fall", "_first_at", "_name", "_opposite", "_rise", "state")

    def __init__(self, name: str, fall: int, rise: int) -> None:
        self._name = name
        self._fall = fall
        self._rise = rise
        self.state = Checked.UP
        self._opposite = 0
        self._first_at = 0.0

    def follow(self, fall: int, rise: int) -> None:
        """Go by other numbers from now on."""
        self._fall = fall
        self._rise = rise

    @property
    def changing(self) -> bool:
        """Whether the last results speak against the state, so that more may change it."""
        return self._opposite > 0

    def observe(
        self, passed: bool, reason: str, *, started_at: float, now: float
    ) -> Transition | None:
        """Record how a check begun at `started_at` ended; return the change it caused, if any.

        `reason` says in a few words how it ended: it is the evidence of a change.
        """
        if passed is (self.state is Checked.UP):
            self._opposite = 0
            return None
        if self._opposite == 0:
            self._first_at = started_at
        self._opposite += 1
        if self._opposite < (self._rise if passed else self._fall):
            return None
        evidence = self._evidence(passed, reason, now)
        self._opposite = 0
        self.state = Checked.UP if passed else Checked.DOWN
        return Transition(self._name, self.state, evidence, at=started_at)

    def _evidence(self, passed: bool, reason: str, now: float) -> str:
        count = self._opposite
        checks = "1 check" if count == 1 else f"{count} checks in a row"
        if passed:
            return f"is up: {checks} passed"
        last = "" if count == 1 else ", the last one"
        took = (now - self._first_at) * 1000
        return f"is down: {checks} failed in {took:.0f} ms{last}: {reason}"


def next_delay(interval: float, fast_interval: float, changing: bool, rng: Random) -> float:
    """Return the seconds from the start of a check to the start of the next, jitter included."""
    seconds = min(interval, fast_interval) if changing else interval
    return seconds * rng.uniform(1 - JITTER, 1 + JITTER)


def first_delay(interval: float, rng: Random) -> float:
    """Return the seconds until the first check: anywhere in an interval, so that they spread."""
    return rng.uniform(0, interval)


@dataclass(frozen=True, slots=True)
class Statuses:
    """A set of HTTP statuses, made of ranges that include both ends."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read statuses and ranges, as in ``200-299,304``. Raises ValueError for anything else."""
        return cls(tuple(_parse_range(part) for part in text.split(",")))

    def __contains__(self, status: int) -> bool:
        return any(first <= status <= last for first, last in self.ranges)


def _parse_range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    return int(first), int(last) if dash else int(first)

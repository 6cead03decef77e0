"""What a worker's process gets from the supervisor at its start."""

from __future__ import annotations

import signal
from dataclasses import dataclass

DEAF_TO = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
)
"""Signals that workers ignore: a terminal's ^C, for one, goes to every process of the group, but
the supervisor alone decides what comes of it."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """File descriptors, and who the worker is. It travels on the command line."""

    slot: int
    """Its row on the scoreboard. What people read is this and 1."""
    named: bool
    """Whether its log lines say which worker it is."""
    channel: int
    scoreboard: int
    turns: int
    plan: int

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors, to be passed on."""
        return (self.channel, self.scoreboard, self.turns, self.plan)

    def arguments(self) -> list[str]:
        """Return it as words of a command line."""
        return [str(int(number)) for number in (self.slot, self.named, *self.descriptors)]

    @classmethod
    def parse(cls, arguments: list[str]) -> Inherited:
        """Read `arguments` back."""
        slot, named, *descriptors = map(int, arguments)
        return cls(slot, bool(named), *descriptors)

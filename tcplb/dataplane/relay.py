"""The rules for how a session of two directions ends, for every engine.

- A FIN is forwarded after every byte before it, and the other direction lives on (half-close).
- A reset is forwarded as a reset, but never over bytes that can still be delivered.
- A side that reset the connection cannot receive any more, but what it sent before still counts:
  a server may well answer, and close while the request is still being sent.

A pump carries one direction; how it does that is the engine's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

from tcplb.dataplane.engine import Connection
from tcplb.dataplane.quiet import QuietTimers
from tcplb.dataplane.termination import Termination

_FLUSH_LOOK_FIRST = 0.001
_FLUSH_LOOK_LONGEST = 0.1


class PumpEnd(Enum):
    """Why a pump stopped."""

    FIN = auto()
    """The source has sent everything, and the sink has taken it."""
    SOURCE_RESET = auto()
    SINK_RESET = auto()
    BUG = auto()
    """An exception of ours ended it."""


class Relayed(Connection, Protocol):
    """What a relay needs to know of a connection, beyond what a session does."""

    hung_up: bool

    def send_fin(self) -> None:
        """Send a FIN after all that was sent. Raises ConnectionResetError."""

    def buffered(self) -> bool:
        """Whether bytes that were to be sent are still in this process, not in the kernel."""

    def unsent(self) -> int:
        """Return the bytes that the peer's kernel has not acknowledged, a FIN not counted."""


# A name of their own for what every connection asks for: in Python 3.11, reading a member off its
# enum takes 120 ns, a global 7.
BUG = PumpEnd.BUG
FIN = PumpEnd.FIN
SOURCE_RESET = PumpEnd.SOURCE_RESET
SINK_RESET = PumpEnd.SINK_RESET
NORMAL = Termination.NORMAL

Side = TypeVar("Side", bound=Relayed)


class Relay(ABC, Generic[Side]):
    """Judges the ends of a session's two pumps. An engine adds how they run."""

    __slots__ = (
        "_expired",
        "_first_end",
        "_first_reset",
        "_last_end",
        "_timer",
        "_timers",
        "backend",
        "client",
        "termination",
    )

    def __init__(self, client: Side, backend: Side, timers: QuietTimers) -> None:
        self.client = client
        self.backend = backend
        self._timers = timers
        self._timer = timers.idle
        """The one that watches."""
        self._first_end: Side | None = None
        """The source of the direction that has ended."""
        self._last_end: Side | None = None
        """The source of the direction that has ended last."""
        self._first_reset: Termination | None = None
        self._expired = False
        self.termination: Termination | None = None
        """Set when the session is over."""

    @abstractmethod
    def _wake(self, termination: Termination) -> None:
        """Let `run` go on: the session is over."""

    @abstractmethod
    async def _sleep(self, seconds: float) -> None: ...

    # -- what ends a session ------------------------------------------------------------------

    def pump_ended(self, source: Side, end: PumpEnd) -> None:
        """One pump is done: is the session over, or half-closed?"""
        if self.termination is not None:
            return
        self._last_end = source
        if end is BUG:
            self._finish(Termination.BUG)
            return
        first = self._first_end is None
        if first and end is FIN:  # behind the last FIN both sides are closed anyway
            try:
                self._other(source).send_fin()
            except ConnectionResetError:
                end = SINK_RESET
        if first:
            (self._other(source) if end is SINK_RESET else source).hung_up = True
        if end is not FIN and self._first_reset is None:
            self._first_reset = self._reset_by(source, end)
        # After a reset was read, the other pump has nobody left to send to.
        if first and end is not SOURCE_RESET:
            self._first_end = source
            self._watch_half_closed()
            self._half_closed(source)
        else:
            self._finish(self._first_reset or NORMAL)

    def _other(self, side: Side) -> Side:
        return self.backend if side is self.client else self.client

    def _half_closed(self, source: Side) -> None:
        """Do what an engine has to do when the first direction has ended."""

    def _watch_half_closed(self) -> None:
        self._timer.forget(self)
        self._timer = self._timers.half_closed
        self._timer.watch(self)

    def side_lost(self, side: Side) -> None:
        """Hear that `side` was reset, at once; if its pump still runs, that finds out itself."""
        if self._first_end is side:
            self._finish(self._first_reset or self._reset_by(side, PumpEnd.SOURCE_RESET))

    def _finish(self, termination: Termination) -> None:
        if self.termination is None:
            self.termination = termination
            self._wake(termination)

    def _reset_by(self, source: Side, end: PumpEnd) -> Termination:
        from_client = source is self.client
        by_client = from_client is (end is PumpEnd.SOURCE_RESET)
        return Termination.CLIENT_RESET if by_client else Termination.BACKEND_RESET

    # -- time-outs (called by QuietTimer) -----------------------------------------------------

    def progress(self) -> int:
        """Return a number that changes when a byte moves, be it only out of the send queues."""
        client, backend = self.client, self.backend
        return client.moved + backend.moved - client.unsent() - backend.unsent()

    def expire(self) -> None:
        """Give up: nothing moves any more."""
        self._expired = True
        if self._first_end is None:
            self._finish(Termination.IDLE)
        elif self._first_end is self.client:
            self._finish(Termination.BACKEND_STAYED_OPEN)
        else:
            self._finish(Termination.CLIENT_STAYED_OPEN)

    # -- the end ------------------------------------------------------------------------------

    async def _end(self, termination: Termination) -> None:
        """End both connections as `termination` demands. The pumps have been stopped."""
        if termination is Termination.CLIENT_RESET:
            self.client.reset()
            await self._reset_when_delivered(self.backend)
        elif termination is Termination.BACKEND_RESET:
            self.backend.reset()
            await self._reset_when_delivered(self.client)
        elif termination is Termination.BUG:  # who knows what was lost
            self.client.reset()
            self.backend.reset()
        else:
            _close_or_reset(self.client)
            _close_or_reset(self.backend)

    async def _reset_when_delivered(self, connection: Side) -> None:
        # A RST makes the kernel drop what it has not sent yet. There is no event for "all was
        # acknowledged", so it is looked for; mostly the first look finds nothing to wait for.
        self._watch_half_closed()
        delay = _FLUSH_LOOK_FIRST
        while connection.unsent() and not connection.lost and not self._expired:
            await self._sleep(delay)
            delay = min(delay * 2, _FLUSH_LOOK_LONGEST)
        connection.reset()


def _close_or_reset(connection: Relayed) -> None:
    """Close in good order if all was delivered; a FIN behind lost bytes would be a lie."""
    if connection.buffered():
        connection.reset()
    else:
        connection.close()

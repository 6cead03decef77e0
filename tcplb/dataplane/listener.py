"""Accepts connections from one listening socket: as many as the gate lets in, as fast as it may.

Accepting is done by hand on the socket: `loop.create_server` cannot pause, and at the limit of file
descriptors uvloop's accepts and drops clients without a word.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import time
from _socket import SocketType as RawSocket
from collections.abc import Callable
from socket import SOCK_NONBLOCK, SOCK_STREAM, SocketType, socket

from tcplb.dataplane.admission import RateLimiter
from tcplb.dataplane.counters import Counters
from tcplb.dataplane.dial import SocketAddress
from tcplb.dataplane.gate import Gate
from tcplb.dataplane.throttle import Throttle

ACCEPTS_PER_WAKEUP = 64
"""So that a flood of new connections cannot keep the loop from those it has."""

_PAUSE_AFTER_ERROR = 0.1
# Errors of the connection that was to be accepted, not of the socket: see accept(2).
_OF_THAT_CLIENT = {
    errno.ECONNABORTED,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EPERM,
    errno.EPROTO,
    errno.ETIMEDOUT,
}

log = logging.getLogger("tcplb.limits")

Accepted = Callable[[SocketType, SocketAddress], bool]
"""Takes a new connection; False if it has refused it, so that it counts for no limit."""


class Listener:
    """One listening socket: non-blocking, bound, and closed by `stop`."""

    def __init__(
        self,
        sock: socket,
        gate: Gate,
        counters: Counters,
        accepted: Accepted,
        *,
        name: str = "",
        rate: RateLimiter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Each connection needs a place in the `gate`, and a token of `rate` if that is given.

        `name` is for the log; `clock` is the one of `rate`.
        """
        self._socket = sock
        self._family = sock.family
        # The raw accept and the raw type: socket.socket costs 3 µs more a connection
        # (docs/performance.md). It is what socket.accept calls, and typeshed has public names only.
        self._accept = sock._accept  # type: ignore[attr-defined]
        self._gate = gate
        self._counters = counters
        self._accepted = accepted
        self._name = name
        self._rate = rate
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._throttle = Throttle()
        self._rate_throttle = Throttle()
        self._open = True

    def start(self) -> None:
        """Begin to accept, or resume."""
        if self._open:
            self._loop.add_reader(self._socket, self._on_readable)

    def serve(self, gate: Gate, accepted: Accepted, name: str, rate: RateLimiter | None) -> None:
        """Accept for somebody else, or by other limits, from the next connection on."""
        self._gate = gate
        self._accepted = accepted
        self._name = name
        self._rate = rate
        self.start()  # it may have paused for a limit that holds no more

    def stop(self) -> None:
        """Accept what the gate lets in of the queue, at any rate, then close the socket for good.

        Clients in the queue have been told by the kernel that they are connected; closing the
        socket resets those that are still in it.
        """
        if not self._open:
            return
        self._open = False
        self._rate = None
        while self._accept_one():
            pass
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def hand_back(self) -> None:
        """Accept no more, and close this copy of the socket.

        Whoever has another copy accepts what waits in the queue.
        """
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _on_readable(self) -> None:
        for _ in range(ACCEPTS_PER_WAKEUP):
            if not self._accept_one():
                return

    def _accept_one(self) -> bool:
        """Accept one connection; False if there is none, or none can be taken now."""
        rate = self._rate
        if rate is not None and not self._try_take_token(rate):
            return False
        if not self._gate.try_enter(self.start):
            self._pause()
            if rate is not None:
                rate.give_back()
            return False
        try:
            descriptor, address = self._accept()
            # Python takes it for non-blocking; the kernel does not, which would be one more system
            # call: an engine asks with MSG_DONTWAIT, or sets it.
            client = RawSocket(self._family, SOCK_STREAM | SOCK_NONBLOCK, 0, descriptor)
        except OSError as error:
            self._count_for_nothing(rate)
            return self._accept_failed(error)
        self._counters.accepted += 1
        if not self._accepted(client, address):
            self._count_for_nothing(rate)
        return True

    def _count_for_nothing(self, rate: RateLimiter | None) -> None:
        """Give back what was taken for a connection that is none."""
        self._gate.leave()
        if rate is not None:
            rate.give_back()

    def _try_take_token(self, rate: RateLimiter) -> bool:
        """Take a token; if there is none, pause until there is."""
        now = self._clock()
        if rate.try_take(now):
            return True
        self._pause()
        # In whole milliseconds, as timers are: one that rings too early makes the loop spin.
        wait = math.ceil(rate.ready_in(now) * 1000) / 1000
        self._loop.call_later(wait, self.start)
        if self._rate_throttle.allows(now):
            log.warning(
                "%smax_new_per_second reached (%d): accepting is delayed, "
                "clients wait in the backlog",
                f"{self._name}: " if self._name else "",
                rate.rate.per_second,
            )
        return False

    def _accept_failed(self, error: OSError) -> bool:
        if isinstance(error, BlockingIOError):
            return False
        if error.errno in _OF_THAT_CLIENT:
            return True  # it has left the queue: take the next one
        self._counters.accept_failures += 1
        self._pause()
        self._loop.call_later(_PAUSE_AFTER_ERROR, self.start)
        if self._throttle.allows(self._loop.time()):
            log.error("cannot accept: %s; clients wait in the backlog", error.strerror)
        return False

    def _pause(self) -> None:
        self._loop.remove_reader(self._socket)

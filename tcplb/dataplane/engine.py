"""What a session needs of an engine, so that its logic is written once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from socket import SocketType
from typing import Any, Protocol

from tcplb.dataplane.quiet import QuietTimers
from tcplb.dataplane.termination import Termination
from tcplb.policy.backend import Backend
from tcplb.policy.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a session waits for what, in seconds."""

    connect: float = 3.0
    """One dial of one backend."""
    connect_deadline: float = 15.0
    """All dials of a session together."""
    first_line: float = 5.0
    """The end of an HTTP request line, from its first byte."""
    idle: float = 3600.0
    """No byte in either direction."""
    half_close: float = 30.0
    """No byte in the direction that is still open, once the other one has ended."""


class Connection(Protocol):
    """One side of a session: the client's connection or the backend's."""

    @property
    def lost(self) -> bool:
        """Whether the peer has reset the connection, as far as is known."""

    @property
    def moved(self) -> int:
        """How many bytes the relay has taken from this connection and handed to the other."""

    @property
    def hung_up(self) -> bool:
        """Whether the peer was the first to end its direction while bytes were relayed."""

    async def wait(self, timeout: float, *, until_fin: bool) -> None:
        """Wait until somebody calls `wake`. Bytes that come meanwhile stay unread.

        Raises TimeoutError after `timeout` seconds, and ConnectionResetError if the peer reset the
        connection, or with `until_fin` also if it sent its FIN.
        """

    def wake(self) -> None:
        """Let the session that waits in `wait` go on, soon."""

    async def peek(self, beyond: int, timeout: float) -> bytes:
        """Return all bytes received so far without consuming them.

        Waits until there are more than `beyond`, or the peer sent its FIN. Raises TimeoutError
        after `timeout` seconds, and ConnectionResetError if the peer reset the connection.
        """

    async def answer(self, data: bytes, timeout: float) -> None:
        """Send `data` and a FIN, and read on for `timeout` seconds at most, so that it arrives.

        Closing with unread bytes would reset the connection, and the peer might never see `data`.
        """

    def close(self) -> None:
        """End the connection in good order. Nothing may be left to send."""

    def reset(self) -> None:
        """End the connection at once with a RST; what was not sent yet is lost."""

    async def wait_closed(self) -> None:
        """Wait until the file descriptor is closed, after `close` or `reset`."""


LateDial = Callable[["Connection | Outcome"], None]
"""Is told how a dial ended that nobody waits for any more, and owns the connection, if any."""

FirstByte = Callable[[float], None]
"""Is told that the backend has sent its first byte, so many seconds after it had a reason to: the
relay began, or if that was later, the client's first byte came."""

Life = Coroutine[Any, Any, None]
"""A session from its begin to its end. It raises nothing but CancelledError."""


class Engine(Protocol):
    """Moves the bytes of sessions, and runs them."""

    def start(self, life: Life) -> object:
        """Run a session, now or soon; return what `cancel` takes."""

    def cancel(self, started: Any) -> None:
        """Raise CancelledError in a session where it waits, now or soon."""

    async def adopt(self, client: SocketType) -> Connection:
        """Take over an accepted socket, which the kernel takes for a blocking one."""

    async def dial(self, backend: Backend, timeout: float) -> Connection | Outcome:
        """Connect to `backend` within `timeout` seconds, or say why not."""

    async def dial_on_trial(
        self, backend: Backend, timeout: float, *, patience: float, late: LateDial
    ) -> Connection | Outcome | None:
        """Dial, but return None after `patience` seconds and let `late` hear of the end.

        Either the result is returned, or `late` is called once; also if the caller is cancelled.
        """

    async def relay(
        self,
        client: Connection,
        backend: Connection,
        timers: QuietTimers,
        first_byte: FirstByte | None = None,
    ) -> Termination:
        """Carry bytes both ways until the session is over; tell `first_byte`, if it is given.

        Both connections are closed or reset, as the session's end demands, on return.
        """

    async def shutdown(self) -> None:
        """End what is still under way in the background (late dials)."""

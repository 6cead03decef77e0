"""One connection of the `splice` engine: a socket, and who waits for it.

It is registered once, for both directions. The kernel tells each change once (edge-triggered), so
`readable` keeps what was told until a read finds the queue empty.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable, Generator
from select import EPOLLERR
from types import coroutine

from tcplb.dataplane.poller import EVENTS, Attach, Poller, Waiting, resume, throw

_PEEK_SIZE = 64 * 1024
_ANSWER_READ_MAX = 1024 * 1024
# Errors that do not tell a reset from a FIN and a reset after it.
_SAY_NOTHING_OF_ITS_END = {errno.EPIPE, errno.ENOTCONN, errno.EBADF}
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds


class SpliceConnection:
    """A socket of the engine, until `close` or `reset`: at most one reader and one writer."""

    __slots__ = (
        "closed",
        "cut_short",
        "descriptor",
        "fin_seen",
        "held",
        "hung_up",
        "in_wait",
        "lost",
        "moved",
        "on_lost",
        "poller",
        "read_on",
        "readable",
        "reader",
        "socket",
        "wants_input",
        "wants_output",
        "writer",
    )

    reader: Waiting
    writer: Waiting
    in_wait: bool
    """Whether its session has to stay in `wait`."""

    def __init__(self, poller: Poller, sock: socket.SocketType) -> None:
        """Watch a connected `sock`, which is ours from now on. Raises OSError.

        It may be a blocking one for the kernel: bytes are moved with MSG_DONTWAIT.
        """
        self.poller = poller
        self.socket = sock
        descriptor = self.descriptor = sock.fileno()
        self.readable = self.wants_input = self.wants_output = False
        self.fin_seen = False
        """A short read has come to the peer's FIN."""
        self.read_on = False
        """A short read proves nothing: there is an error behind the bytes, or urgent data."""
        self.lost = False
        self.cut_short = False
        """A reset came in place of the peer's FIN, not after one."""
        self.closed = False
        self.hung_up = False
        self.moved = 0
        self.held = 0
        """Bytes taken from the other side that this one's kernel has not taken yet."""
        self.on_lost: Callable[[SpliceConnection], None] | None = None
        poller.register(descriptor, EVENTS)
        poller.watched[descriptor] = self

    def note_trouble(self, events: int) -> None:
        """Hear of an error, or of urgent data."""
        self.read_on = True
        if events & EPOLLERR:
            self.lost = True
            if self.on_lost is not None:
                self.on_lost(self)

    # -- waiting, for a session (a pump sets `wants_input` or `wants_output`, and yields) -------

    @coroutine
    def _input(self, due: float) -> Generator[Attach, None, None]:
        """Wait for the next event of input. Raises TimeoutError at `due`."""
        self.wants_input = True
        self.poller.set_deadline(self, due)
        try:
            yield self._set_reader
        finally:
            self.wants_input = False
            self.poller.deadlines.pop(self, None)

    @coroutine
    def _output(self, due: float) -> Generator[Attach, None, None]:
        """Wait until the kernel takes bytes again. Raises TimeoutError at `due`."""
        self.wants_output = True
        self.poller.set_deadline(self, due)
        try:
            yield self._set_writer
        finally:
            self.wants_output = False
            self.poller.deadlines.pop(self, None)

    def _set_reader(self, waiting: Waiting) -> None:
        self.reader = waiting

    def _set_writer(self, waiting: Waiting) -> None:
        self.writer = waiting

    def time_out(self) -> None:
        """Raise TimeoutError in the session that waits."""
        throw(self.writer if self.wants_output else self.reader, TimeoutError())

    # -- before the relay ---------------------------------------------------------------------

    @coroutine
    def connected(self, due: float) -> Generator[Attach, None, int]:
        """Wait for the end of a connect in progress; return its error number, 0 for none."""
        self.wants_output = True
        self.poller.set_deadline(self, due)
        try:
            yield self._set_writer
        except TimeoutError:
            return errno.ETIMEDOUT
        finally:
            self.wants_output = False
            self.poller.deadlines.pop(self, None)
        if not self.readable:
            return 0
        # It can only be readable by an error, or by bytes that came with the acceptance.
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    async def wait(self, timeout: float, *, until_fin: bool) -> None:
        """Wait for `wake`. Raises TimeoutError, and ConnectionResetError if the peer leaves."""
        due = self.poller.loop.time() + timeout
        self.in_wait = True
        try:
            while self.in_wait:
                if self.lost or (until_fin and self.fin_seen):
                    raise ConnectionResetError
                await self._input(due)
        finally:
            self.in_wait = False

    def wake(self) -> None:
        """Let the session in `wait` go on, soon."""
        self.in_wait = False
        # Not at once: whoever calls is in the middle of its own end.
        self.poller.loop.call_soon(self._wake_up)

    def _wake_up(self) -> None:
        # An event may have woken it already. Then whoever waits for input now finds none, as after
        # any event that tells nothing new.
        if self.wants_input:
            self.wants_input = False
            resume(self.reader)

    async def peek(self, beyond: int, timeout: float) -> bytes:
        """Return all bytes received so far, once there are more than `beyond` or a FIN came."""
        due = self.poller.loop.time() + timeout
        while True:
            # Before the look at the bytes: what was there when the FIN was seen is all there is.
            fin_seen = self.fin_seen
            try:
                data = self.socket.recv(_PEEK_SIZE, socket.MSG_PEEK | socket.MSG_DONTWAIT)
                fin_seen = fin_seen or not data
            except BlockingIOError:
                data = b""
            if len(data) > beyond:
                return data
            if self.lost:
                raise ConnectionResetError
            if fin_seen:
                return data
            await self._input(due)

    async def answer(self, data: bytes, timeout: float) -> None:
        """Send `data` and a FIN, and read on for `timeout` seconds at most, so that it arrives."""
        due = self.poller.loop.time() + timeout
        read = 0
        try:
            while data:
                data = data[await self._send_some(data, due) :]
            self.send_fin()
            while read < _ANSWER_READ_MAX and (more := await self._receive_some(due)):
                read += more
        except OSError:  # TimeoutError is one
            pass  # the client had its chance
        self.close()

    async def _send_some(self, data: bytes, due: float) -> int:
        while True:
            try:
                return self.socket.send(data, socket.MSG_DONTWAIT)
            except BlockingIOError:
                await self._output(due)

    async def _receive_some(self, due: float) -> int:
        while True:
            try:
                return len(self.socket.recv(_PEEK_SIZE, socket.MSG_DONTWAIT))
            except BlockingIOError:
                await self._input(due)

    # -- ending -------------------------------------------------------------------------------

    def failed(self, error: OSError) -> None:
        """Note that reading or writing failed: the peer has reset the connection."""
        self.lost = True
        # The error was told to us, so no event and no read will tell it again: without this, the
        # end of what is still to be read would look like a FIN.
        self.read_on = True
        if error.errno not in _SAY_NOTHING_OF_ITS_END:
            self.cut_short = True

    def send_fin(self) -> None:
        """Send a FIN after all that was sent. Raises ConnectionResetError."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.failed(error)
            raise ConnectionResetError("the connection was reset") from error

    def buffered(self) -> bool:
        """Whether bytes that were to be sent are still in this process, not in the kernel."""
        return self.held > 0

    def unsent(self) -> int:
        """Return the bytes that the peer's kernel has not acknowledged, a FIN not counted."""
        if self.closed:
            return 0
        queued = fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4))  # SIOCOUTQ, tcp(7)
        return self.held + int.from_bytes(queued, sys.byteorder)

    def close(self) -> None:
        """End the connection in good order."""
        if not self.closed:
            self.closed = True
            # Closing the descriptor takes it out of the epoll.
            del self.poller.watched[self.descriptor]
            self.socket.close()

    def reset(self) -> None:
        """End the connection at once with a RST."""
        if not self.closed:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.close()

    async def wait_closed(self) -> None:
        """Return: `close` and `reset` close at once."""

"""One connection on an asyncio transport.

It is an `asyncio.Protocol` of our own and not a StreamReader/StreamWriter pair, for what those
cannot do: hand on the bytes that came before a reset, let bytes be peeked at, and tell a reset
while writing from the end of what is still to be read. It also copies once less
(docs/performance.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import socket
import struct
import sys
import termios
from typing import cast

READ_AHEAD = 64 * 1024
"""Bytes received and not yet consumed, from which on reading pauses."""

_ANSWER_READ_MAX = 1024 * 1024
# Errors of a write that do not tell a reset from a FIN and a reset after it.
_SAY_NOTHING_OF_ITS_END = {errno.EPIPE, errno.ENOTCONN, errno.EBADF}
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds


class StreamConnection(asyncio.Protocol):
    """A connected socket, read and written by coroutines: at most one reader and one writer."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._received: list[bytes] = []
        self._received_size = 0
        self._fin_received = False
        self._lost = False
        self._cut_short = False  # the peer's reset came in place of a FIN, not after one
        self._wants_unread = True
        self._unread: socket.socket | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._closed = self._loop.create_future()
        self._woken = False
        self.hung_up = False
        self.moved = 0

    @classmethod
    async def over(cls, sock: socket.socket) -> StreamConnection:
        """Take over a connected, non-blocking `sock`. Raises OSError; the socket is then closed."""
        connection = cls(sock)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: connection, sock=sock)
        except BaseException:
            sock.close()
            raise
        return connection

    # -- reading ------------------------------------------------------------------------------

    async def receive(self) -> bytes:
        """Return what has come; ``b""`` is the peer's FIN.

        Raises ConnectionResetError for a reset, after every byte that came before it.
        """
        while not self._received:
            if self._fin_received:
                return self._nothing_more()
            if self._closed.done():
                return self._receive_unread() or self._nothing_more()
            await self._more()
        data = self._received[0] if len(self._received) == 1 else b"".join(self._received)
        self._received.clear()
        if self._received_size >= READ_AHEAD and not self._closed.done():
            self._transport.resume_reading()
        self._received_size = 0
        return data

    async def peek(self, beyond: int, timeout: float) -> bytes:
        """Return all bytes received so far, once there are more than `beyond` or a FIN came."""
        async with asyncio.timeout(timeout):
            while self._received_size <= beyond and not self._fin_received:
                if self._lost:
                    raise ConnectionResetError
                await self._more()
        return b"".join(self._received)

    async def wait(self, timeout: float, *, until_fin: bool) -> None:
        """Wait for `wake`. Raises TimeoutError, and ConnectionResetError if the peer leaves."""
        self._woken = False
        async with asyncio.timeout(timeout):
            while not self._woken:
                if self._lost or (until_fin and self._fin_received):
                    raise ConnectionResetError
                await self._more()

    def wake(self) -> None:
        """Let the session in `wait` go on, soon."""
        self._woken = True
        _wake(self._reader)

    async def _more(self) -> None:
        self._reader = self._loop.create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _nothing_more(self) -> bytes:
        if self._cut_short:
            raise ConnectionResetError
        return b""

    def _receive_unread(self) -> bytes:
        # This never blocks: the connection is dead.
        try:
            return self._unread.recv(READ_AHEAD) if self._unread else b""
        except OSError:
            self._cut_short = True
            return b""

    # -- writing ------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """Send all of `data`: on return nothing of it is left in this process.

        Raises ConnectionResetError if the peer reset the connection. What the peer sent before
        that can still be received.
        """
        sent = self._send_now(data)
        if sent < len(data):
            self._transport.write(memoryview(data)[sent:])
            await self._drain()

    def send_fin(self) -> None:
        """Send a FIN after all that was sent. Raises ConnectionResetError as `send` does."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self._reset_by_peer(error) from error

    def _send_now(self, data: bytes) -> int:
        # Straight to the socket, and not through the transport: a transport that meets an error
        # while writing closes at once, and what the peer had sent before it is never read.
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._reset_by_peer(error) from error

    def _reset_by_peer(self, error: OSError) -> ConnectionResetError:
        # The transport goes on reading: what the peer sent before its reset may still be unread.
        self._lost = True
        if error.errno not in _SAY_NOTHING_OF_ITS_END:
            self._cut_short = True
        return ConnectionResetError("the connection was reset")

    async def _drain(self) -> None:
        if self._transport.get_write_buffer_size() == 0:
            return
        self._writer = self._loop.create_future()
        try:
            await self._writer
        finally:
            self._writer = None

    # -- ending -------------------------------------------------------------------------------

    @property
    def lost(self) -> bool:
        """Whether the peer has reset the connection, as far as is known."""
        return self._lost

    def buffered(self) -> bool:
        """Whether bytes that were to be sent are still in this process, not in the kernel."""
        return not self._closed.done() and self._transport.get_write_buffer_size() > 0

    def unsent(self) -> int:
        """Return the bytes that the peer's kernel has not acknowledged, a FIN not counted."""
        if self._closed.done():
            return 0
        return self._transport.get_write_buffer_size() + _unacknowledged(self._socket)

    async def answer(self, data: bytes, timeout: float) -> None:
        """Send `data` and a FIN, and read on for `timeout` seconds at most, so that it arrives."""
        read = 0
        try:
            async with asyncio.timeout(timeout):
                await self.send(data)
                self.send_fin()
                while read < _ANSWER_READ_MAX and (more := await self.receive()):
                    read += len(more)
        except (TimeoutError, ConnectionResetError):
            pass  # the client had its chance
        self.close()

    def close(self) -> None:
        """End the connection in good order."""
        self._read_no_more()
        self._transport.close()

    def reset(self) -> None:
        """End the connection at once with a RST."""
        self._read_no_more()
        if not self._closed.done():
            # abort() alone sends a FIN, which would tell the peer that all is well.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the file descriptor is closed."""
        await self._closed

    def _read_no_more(self) -> None:
        self._wants_unread = False
        if self._unread is not None:
            self._unread.close()
            self._unread = None

    # -- what the transport calls -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read. With a limit of 0 the transport tells when it has sent *everything*."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        """Keep `data` for the reader; stop reading while it has enough."""
        before = self._received_size
        self._received.append(data)
        self._received_size += len(data)
        if before < READ_AHEAD <= self._received_size:
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> bool:
        """Note the FIN. The connection stays open: the other direction has its own end."""
        self._fin_received = True
        _wake(self._reader)
        return True

    def resume_writing(self) -> None:
        """Everything has been sent."""
        _wake(self._writer)

    def connection_lost(self, error: Exception | None) -> None:
        """Wake whoever waits; no more events will come."""
        if error is not None:
            self._lost = True
            self._cut_short = self._cut_short or not isinstance(error, BrokenPipeError)
            if self._wants_unread and not self._fin_received:
                # The transport gives up when a write fails, and closes its file descriptor. What
                # the peer had sent before is still in the kernel; it is read from this copy.
                with contextlib.suppress(OSError):
                    self._unread = self._socket.dup()
        if not self._closed.done():
            self._closed.set_result(None)
        _wake(self._reader)
        if self._writer is not None and not self._writer.done():
            self._writer.set_exception(ConnectionResetError("the connection was reset"))


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _unacknowledged(sock: socket.socket) -> int:
    """Return the bytes in the kernel's send queue (SIOCOUTQ, tcp(7)); 0 where it cannot be told."""
    if sys.platform != "linux" or sock.fileno() < 0:
        return 0
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

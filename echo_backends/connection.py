"""One accepted connection: its bytes, and the ways it can end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios

from echo_backends.faults import Faults

READ_SIZE = 64 * 1024
"""Bytes read at most at a time."""

LINGER = 5.0
"""Seconds that the end of a connection may take."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class LimitReached(Exception):  # noqa: N818 - nothing went wrong: this is what was asked for
    """As many bytes as the faults allow have been sent back; the rest was cut off."""


class Connection:
    """A client's socket, which has to be non-blocking.

    No transport sits in between: what is not read stays in the kernel, and how the socket is
    closed decides what the client sees. Every method may raise OSError when the client is gone.
    """

    def __init__(self, client: socket.socket, faults: Faults) -> None:
        """Take over `client`."""
        self._socket = client
        self.faults = faults
        self._sent = 0

    @property
    def sent(self) -> int:
        """Bytes sent so far, by calls of send() that have ended."""
        return self._sent

    async def receive(self, deadline: float | None = None) -> bytes:
        """The next bytes, b"" after the client's FIN.

        Raises TimeoutError at `deadline` (loop time). Nothing is lost then: only waiting is
        interrupted, never a read.
        """
        while True:
            try:
                return self._socket.recv(READ_SIZE)
            except BlockingIOError:
                async with asyncio.timeout_at(deadline):
                    await self._readable()

    async def send(self, data: bytes) -> None:
        """Send `data`, or as much as the faults allow, and then raise LimitReached."""
        limit = self.faults.limit
        if limit is not None:
            data = data[: limit - self._sent]
        await asyncio.get_running_loop().sock_sendall(self._socket, data)
        self._sent += len(data)
        if self._sent == limit:
            raise LimitReached

    async def end(self) -> None:
        """End the connection: by a reset if that is what the faults ask for now, else in order."""
        if self._sent == self.faults.reset_after:
            await self._delivered()
            self.reset()
            return
        await self._finish()

    def reset(self) -> None:
        """Close with a RST, dropping what is still on its way."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._socket.close()

    def close(self) -> None:
        """Let go of the socket, whatever its state. May be called again."""
        self._socket.close()

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._socket, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._socket)

    async def _finish(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)
        # Closing with bytes unread makes the kernel send a RST, which can overtake our last
        # answer. So what still comes is read until the client has closed too.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while await self.receive():
                    pass

    async def _delivered(self) -> None:
        # A reset drops what the kernel has not sent yet, and the cut is to be exact.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while self._unacknowledged():  # noqa: ASYNC110 - the kernel offers no event
                    await asyncio.sleep(0.001)

    def _unacknowledged(self) -> int:
        try:
            answer = fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4))
        except OSError:
            return 0  # Only Linux can say.
        return int.from_bytes(answer, sys.byteorder)

"""Messages, and sockets with them, between the supervisor and one worker.

A stream socket of the Unix family. A message is its length in 4 bytes and a pickle; a descriptor
goes with the first byte of the message it belongs to. Sending never blocks: what the other side
does not take now waits here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import socket
from collections import deque
from collections.abc import Callable

from tcplb.control.messages import Listen, Message

_LENGTH_BYTES = 4
_READ_BYTES = 65536

Received = Callable[[Message, int | None], None]
"""Takes a message, and the descriptor that came with it: only `Listen` has one, and it is the
receiver's to close."""


def send_at_once(sock: socket.socket, message: Message) -> None:
    """Send one message, where there is no loop to do it. Nothing happens if nobody is there."""
    with contextlib.suppress(OSError):
        sock.sendall(_frame(message))


def _frame(message: Message) -> bytes:
    body = pickle.dumps(message)
    return len(body).to_bytes(_LENGTH_BYTES) + body


class Channel:
    """One end, in the process that runs the loop."""

    def __init__(self, sock: socket.socket, received: Received, ended: Callable[[], None]) -> None:
        """Use `sock`, which is ours from now; call `ended` once when the other side is gone."""
        self._socket = sock
        self._received = received
        self._on_end = ended
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[tuple[bytes, int | None]] = deque()
        self._data = bytearray()
        self._descriptors: deque[int] = deque()
        self._open = True
        sock.setblocking(False)
        self._loop.add_reader(sock, self._read)

    def send(self, message: Message, descriptor: int | None = None) -> None:
        """Send a message, and a copy of `descriptor`; nothing happens if nobody is there."""
        if not self._open:
            return
        copy = None if descriptor is None else os.dup(descriptor)
        self._unsent.append((_frame(message), copy))
        if len(self._unsent) == 1:
            self._write()

    def close(self) -> None:
        """End the channel. What could not be sent yet is lost."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._socket)
        self._forget_unsent()
        self._socket.close()
        for descriptor in self._descriptors:
            os.close(descriptor)

    # -- sending ------------------------------------------------------------------------------

    def _write(self) -> None:
        try:
            while self._unsent:
                self._write_first()
        except BlockingIOError:
            self._loop.add_writer(self._socket, self._write)
        except OSError:  # nobody reads: reading finds the end
            self._forget_unsent()
        else:
            self._loop.remove_writer(self._socket)

    def _write_first(self) -> None:
        data, descriptor = self._unsent[0]
        if descriptor is None:
            sent = self._socket.send(data)
        else:
            sent = socket.send_fds(self._socket, [data], [descriptor])
            os.close(descriptor)
        if sent == len(data):
            self._unsent.popleft()
        else:
            self._unsent[0] = (data[sent:], None)

    def _forget_unsent(self) -> None:
        self._loop.remove_writer(self._socket)
        for _, descriptor in self._unsent:
            if descriptor is not None:
                os.close(descriptor)
        self._unsent.clear()

    # -- receiving ----------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, _READ_BYTES, 1)
        except BlockingIOError:
            return
        except OSError:  # a reset: it ended with something unread
            data, descriptors = b"", []
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
            self._descriptors.append(descriptor)
        if data:
            self._data += data
            self._take_messages()
        else:
            self.close()
            self._on_end()

    def _take_messages(self) -> None:
        while self._open and len(self._data) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(self._data[:_LENGTH_BYTES])
            if len(self._data) < end:
                return
            # Written by our own program, in a process that we started or that started us.
            message: Message = pickle.loads(self._data[_LENGTH_BYTES:end])  # noqa: S301
            del self._data[:end]
            has_descriptor = isinstance(message, Listen)
            self._received(message, self._descriptors.popleft() if has_descriptor else None)

"""Connections of the load: plain non-blocking sockets, edge-triggered.

What all scripts share: to connect, to send what may not fit at once, and to receive more.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from errno import EALREADY, EINPROGRESS, EISCONN
from time import monotonic_ns

from tcplb.loadgen.client import ENDS, Client, FailedError, NoAnswerError, Waiting
from tcplb.loadgen.tally import Served

READ_SIZE = 64 * 1024
SEND_SIZE = 256 * 1024
"""Bytes given to one send at most."""

_IP_BIND_ADDRESS_NO_PORT = 24
"""From <linux/in.h>: let connect(2) choose the port, which it does per destination."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_IN = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_IN_OUT = _IN | select.EPOLLOUT


class Connection:
    """An open connection. Not to be used after `close`."""

    __slots__ = ("_client", "_mask", "fd", "new", "recv", "send", "served", "socket")

    def __init__(self, client: Client, sock: socket.SocketType, mask: int) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.recv = sock.recv
        self.send = sock.send
        self.new = True
        """Whether no answer has come yet."""
        self.served: Served | None = None
        """The count of the backend at the other end, if it has named itself."""
        self._client = client
        self._mask = mask

    def answered(self, served: Served | None, backend: str) -> None:
        """Note the first answer, and which backend sent it; "" if it has not said."""
        self.new = False
        self.served = served
        if served is not None:
            served.connections += 1
            self._client.loop.keys.met(self._client, backend)

    def try_send(self, data: memoryview) -> int:
        """Send and count what there is room for, and be told when there is more; maybe 0 bytes."""
        try:
            sent = self.send(data[:SEND_SIZE])
        except BlockingIOError:
            self._watch_output()
            return 0
        self._client.progressed()
        self._client.loop.tally.bytes_sent += sent
        return sent

    def try_receive(self) -> bytes | None:
        """Return and count the next bytes, b"" after the end; None if there are none yet."""
        try:
            data = self.recv(READ_SIZE)
        except BlockingIOError:
            return None
        self._client.progressed()
        self._client.loop.tally.bytes_received += len(data)
        return data

    def send_all(self, data: bytes) -> Waiting[bool]:
        """Send `data`, waiting as often as it takes; return whether it had to.

        If so, the event that tells of an answer may have come meanwhile, and there is only one.
        """
        rest, waited = memoryview(data), False
        while rest:
            sent = self.try_send(rest)
            rest = rest[sent:]
            if not sent:
                waited = True
                yield from self.wait()
        return waited

    def receive(self) -> Waiting[bytes]:
        """Return the next bytes, waiting for them; b"" after the end."""
        while (data := self.try_receive()) is None:
            yield from self.wait()
        return data

    def wait(self) -> Waiting[int]:
        """Wait for an event; return its mask. The client learns if the target has `ended` it."""
        mask = yield
        if mask & ENDS:
            self._client.ended = True  # the edge comes only once, maybe with the answer
        return mask

    def give_way(self) -> Waiting[None]:
        """Let the loop and all other clients go on before this one."""
        self._watch_output()  # there is room, so the next look at events tells so
        yield from self.wait()

    def _watch_output(self) -> None:
        if self._mask != _IN_OUT:
            self._mask = _IN_OUT
            self._client.loop.epoll.modify(self.fd, _IN_OUT)

    def reset(self) -> None:
        """Close it with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.close()

    def close(self) -> None:
        """Close it: by a FIN, or by a RST if there are bytes that nobody read. May be repeated."""
        if self.socket.fileno() < 0:
            return
        loop = self._client.loop
        loop.scripts.pop(self.fd, None)
        loop.tally.open -= 1
        self.socket.close()


def connect(client: Client) -> Waiting[Connection]:
    """Connect to the target; raises FailedError or OSError."""
    loop = client.loop
    client.ended = False
    began = client.since = monotonic_ns()
    sock = socket.SocketType(loop.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        mask = yield from _establish(client, sock)
    except BaseException:
        loop.scripts.pop(sock.fileno(), None)
        sock.close()
        raise
    loop.tally.connect.record(monotonic_ns() - began)
    loop.tally.connections += 1
    loop.tally.open += 1
    return Connection(client, sock, mask)


def connect_ahead(client: Client) -> Waiting[Connection]:
    """Connect before there is a request to send; raises FailedError or OSError.

    A failure then stands for a request, so that so many of them are over though nobody listens.
    """
    try:
        return (yield from connect(client))
    except (FailedError, OSError):
        client.lose_request()
        raise


def _establish(client: Client, sock: socket.SocketType) -> Waiting[int]:
    """Connect `sock`, which is then watched; return the mask that it is watched with."""
    address = client.loop.address
    if client.source is not None:
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((client.source, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    error = sock.connect_ex(address)
    if error == EINPROGRESS:
        # On loopback the handshake is over by now, and asking again is cheaper than an event.
        error = sock.connect_ex(address)
    if error in (0, EISCONN):
        _watch(client, sock, _IN)
        return _IN
    if error == EALREADY:
        _watch(client, sock, _IN_OUT)
        error = yield from _connected(sock)
    if error:
        raise OSError(error, os.strerror(error))
    client.loop.epoll.modify(sock, _IN)
    return _IN


def _watch(client: Client, sock: socket.SocketType, mask: int) -> None:
    client.loop.scripts[sock.fileno()] = client.resume
    client.loop.epoll.register(sock, mask)


def _connected(sock: socket.SocketType) -> Waiting[int]:
    """Wait for the end of a connect; return its error, 0 for none."""
    while True:
        try:
            mask = yield
        except NoAnswerError:
            raise FailedError("no connection in time") from None
        if mask:
            return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

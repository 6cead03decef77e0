"""The part of the backends that sends without end: a process that is handed connected sockets."""

from __future__ import annotations

import os
import select
import socket

from bench.cores import Policy
from bench.wire import BULK_BLOCK, BULK_BLOCK_THAT_GIVES_WAY, BULK_BUFFER


def start_bulk_source(policy: Policy) -> socket.socket:
    """Fork the source. Returns the socket to pass descriptors over; it ends when that is closed."""
    ours, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        return ours
    ours.close()
    policy.apply()
    block = BULK_BLOCK_THAT_GIVES_WAY if policy is Policy.IDLE else BULK_BLOCK
    _Source(theirs, bytes(block)).serve()
    os._exit(0)


class _Source:
    def __init__(self, handed_over: socket.socket, block: bytes) -> None:
        self._block = block
        self._handed_over = handed_over
        self._clients: dict[int, socket.socket] = {}
        self._epoll = select.epoll()
        self._epoll.register(handed_over, select.EPOLLIN)

    def serve(self) -> None:
        """Send to everyone who takes something, until there is nobody left to hand over."""
        while True:
            for fd, _ in self._epoll.poll():
                if client := self._clients.get(fd):
                    self._send(client)
                elif not self._take():
                    return

    def _take(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._handed_over, 1, 1)
        for fd in fds:
            client = self._clients[fd] = socket.socket(fileno=fd)
            client.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BULK_BUFFER)
            self._epoll.register(client, select.EPOLLOUT)
        return bool(data)

    def _send(self, client: socket.socket) -> None:
        try:
            client.send(self._block)
        except BlockingIOError:
            pass
        except ConnectionError:
            del self._clients[client.fileno()]
            client.close()

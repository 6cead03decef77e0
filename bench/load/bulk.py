"""Bulk: several downloads at once, as fast as they come."""

from __future__ import annotations

import os
import select
import socket
import time

from bench.load.client import connect, wait
from bench.wire import BULK_BLOCK, BULK_BLOCK_THAT_GIVES_WAY, BULK_BUFFER, BULK_REQUEST


class Bulk:
    """Downloads without end. A unit is a byte.

    The bytes are copied out as any client does, which keeps the load's core busy: it is the
    balancer's CPU time that counts here, not how fast the sink is.
    """

    def __init__(self, port: int, connections: int, *, gives_way: bool) -> None:
        self._room = bytearray(BULK_BLOCK_THAT_GIVES_WAY if gives_way else BULK_BLOCK)
        self._epoll = select.epoll()
        self._clients: dict[int, socket.socket] = {}
        self.units = 0
        self.latencies: list[int] = []
        for _ in range(connections):
            client = socket.socket(fileno=connect(port))
            self._clients[client.fileno()] = client
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BULK_BUFFER)
            client.sendall(BULK_REQUEST)
            self._epoll.register(client, select.EPOLLIN)

    def run(self, seconds: float) -> None:
        """Keep going for so long."""
        clients, room = self._clients, self._room
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for fd, _ in wait(self._epoll):
                received = clients[fd].recv_into(room)
                if not received:
                    raise ConnectionResetError("the download was closed")
                self.units += received

    def reset(self) -> None:
        """Count from here."""
        self.units = 0

    def close(self) -> None:
        """Close the connections, in the middle of the stream."""
        for fd in self._clients:
            os.close(fd)

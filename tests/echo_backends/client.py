"""A client that knows how its connection ended. (A StreamReader forgets what came before a RST.)"""

from __future__ import annotations

import asyncio
import socket
from enum import Enum, auto

DEADLINE = 10.0
"""Seconds after which a wait fails its test; nothing here takes so long."""


class Ending(Enum):
    FIN = auto()
    RST = auto()


class Client:
    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def connect(cls, host: str, port: int, receive_buffer: int = 0) -> Client:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        connecting = socket.socket(family, socket.SOCK_STREAM)
        connecting.setblocking(False)
        if receive_buffer:
            connecting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            async with asyncio.timeout(DEADLINE):
                await asyncio.get_running_loop().sock_connect(connecting, (host, port))
        except OSError:
            connecting.close()
            raise
        return cls(connecting)

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(DEADLINE):
            await self._loop.sock_sendall(self._socket, data)

    def send_fin(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    async def receive(self, size: int) -> bytes:
        """Exactly `size` bytes, or what came before the FIN."""
        received = bytearray()
        async with asyncio.timeout(DEADLINE):
            while len(received) < size:
                data = await self._loop.sock_recv(self._socket, size - len(received))
                if not data:
                    break
                received += data
        return bytes(received)

    async def receive_all(self) -> tuple[bytes, Ending]:
        """What comes until the connection ends, and how it does."""
        received = bytearray()
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    data = await self._loop.sock_recv(self._socket, 65536)
                except ConnectionResetError:
                    return bytes(received), Ending.RST
                if not data:
                    return bytes(received), Ending.FIN
                received += data

    async def receive_answer(self, *, body: bool = True) -> bytes:
        """One HTTP answer, whose head is taken byte by byte so that nothing after it is."""
        head = bytearray()
        while not head.endswith(b"\r\n\r\n"):
            byte = await self.receive(1)
            assert byte, f"the connection ended in the middle of {bytes(head)!r}"
            head += byte
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")),
            0,
        )
        return bytes(head) + (await self.receive(length) if body else b"")

    def unread(self) -> bytes:
        """What has arrived already; raises BlockingIOError if nothing has."""
        return self._socket.recv(65536)

    def close(self) -> None:
        self._socket.close()

"""Hands the listening sockets to the workers, and takes them back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from socket import socket
from typing import Protocol

from tcplb.control.assignment import assign
from tcplb.control.messages import HandBack, Listen, Message
from tcplb.control.sockets import SocketSets


class Send(Protocol):
    """Tells the worker of that number something, and gives it a copy of a socket."""

    def __call__(self, worker: int, message: Message, sock: socket | None = None) -> None: ...


class Sharing:
    """Who accepts on which set of sockets."""

    def __init__(self, sockets: SocketSets, send: Send) -> None:
        self._sockets = sockets
        self._send = send
        self._accepting: dict[int, int] = {}

    def share_out(self, able: Sequence[int]) -> None:
        """Give each set of sockets to one of the `able` workers; move as few as possible."""
        shares = assign(range(len(self._sockets)), able, self._accepting)
        for number, worker in shares.items():
            before = self._accepting.get(number)
            if before == worker:
                continue
            for address, sock in self._sockets[number]:
                self._send(worker, Listen(number, address), sock)
            # Only now: there is no moment when nobody accepts.
            if before is not None:
                self._send(before, HandBack(number))
        self._accepting = shares

    def offer(self, addresses: Collection[int]) -> None:
        """Give the sockets of new addresses to those who accept on their sets."""
        for number, worker in self._accepting.items():
            for address, sock in self._sockets[number]:
                if address in addresses:
                    self._send(worker, Listen(number, address), sock)

    def forget(self, worker: int) -> None:
        """Note that a worker is gone, with its copies of the sockets."""
        accepting = self._accepting.items()
        self._accepting = {number: other for number, other in accepting if other != worker}

"""What all loads have in common: connecting, waiting, and what can go wrong."""

from __future__ import annotations

import itertools
import select
import socket

from bench.wire import ANSWER, REQUEST

PATIENCE = 5.0
"""Seconds without any event after which a load gives up."""

READ_SIZE = 4096

# A client's port is taken for a while after it has closed first. A few source addresses give so
# many more ports that none has to be looked for long.
_SOURCES = itertools.cycle([f"127.0.0.{host}" for host in range(2, 18)])
_IP_BIND_ADDRESS_NO_PORT = 24
"""From <linux/in.h>: let connect(2) choose the port, which it does per destination."""


class LoadError(Exception):
    """The balancer did not do what it was asked to."""


class StalledError(LoadError):
    """Nothing happened for `PATIENCE` seconds."""

    def __init__(self) -> None:
        super().__init__(f"nothing moved for {PATIENCE:g} s")


class WrongAnswerError(LoadError):
    """The bytes that came back are not the answer."""

    def __init__(self, data: bytes) -> None:
        super().__init__(f"got {data[:60]!r} for an answer" if data else "closed before the answer")


def connect(port: int) -> int:
    """Connect to 127.0.0.1 and return the descriptor, which is blocking.

    On loopback the handshake ends inside connect(2), so blocking costs no wait; and all that
    follows is done when epoll says so. Raises OSError.
    """
    client = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM)
    client.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    client.bind((next(_SOURCES), 0))
    client.connect(("127.0.0.1", port))
    return client.detach()


def connect_kept(port: int) -> int:
    """The same, for a connection that is kept: small writes leave at once."""
    client = socket.socket(fileno=connect(port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client.detach()


def ask(port: int, timeout: float) -> None:
    """Connect, send one request, check the answer and close. Raises OSError or LoadError."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as client:
        client.sendall(REQUEST)
        data = client.recv(READ_SIZE)
    if data != ANSWER:
        raise WrongAnswerError(data)


def wait(epoll: select.epoll) -> list[tuple[int, int]]:
    """Return at least one event. Raises StalledError."""
    if events := epoll.poll(PATIENCE):
        return events
    raise StalledError

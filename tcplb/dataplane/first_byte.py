"""When a backend's first byte comes, on the `splice` engine.

Only some strategies and rules want to know, so a pump has nothing of it: in front of its first step
stands another reader, which looks once and steps aside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from socket import MSG_DONTWAIT, MSG_PEEK

from tcplb.dataplane.engine import FirstByte
from tcplb.dataplane.poller import Waiting, resume
from tcplb.dataplane.splice_connection import SpliceConnection


def listen_for_first_byte(
    client: SpliceConnection, backend: SpliceConnection, tell: FirstByte
) -> None:
    """Have `tell` called when the first byte of `backend` comes. Both have their pumps as readers.

    A backend that has nothing to answer yet is not slow: time counts from the client's first byte.
    """
    since = time.monotonic()

    def client_spoke() -> None:
        nonlocal since
        since = time.monotonic()

    def backend_spoke() -> None:
        if _has_bytes(backend):
            tell(max(0.0, time.monotonic() - since))

    client.reader = _look_once(client, client.reader, client_spoke)
    backend.reader = _look_once(backend, backend.reader, backend_spoke)


def _look_once(
    connection: SpliceConnection, pump: Waiting, look: Callable[[], None]
) -> Generator[None, None, None]:
    """Stand in for the reader of `connection` until its first event of input."""
    connection.reader = pump
    try:
        look()
    finally:
        resume(pump)
    yield from ()  # it is a generator only because readers are


def _has_bytes(connection: SpliceConnection) -> bool:
    """Whether it is bytes that can be read, and not a FIN or an error."""
    try:
        return bool(connection.socket.recv(1, MSG_PEEK | MSG_DONTWAIT))
    except BlockingIOError:
        return False
    except OSError as error:  # it is told only once: the pump would take its end for a FIN
        connection.failed(error)
        return False

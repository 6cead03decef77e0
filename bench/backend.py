"""The backends: one process that listens on several ports and answers with as little as it can.

A small request gets a small answer on a connection that stays open; `GET /bulk` gets bytes without
end, from a process of its own, so that bulk does not make the small answers wait. Sockets are plain
descriptors here: with Python's socket objects it would be the backend that is measured.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import sys

from bench.bulk_source import start_bulk_source
from bench.cores import Policy
from bench.wire import ANSWER, BULK_REQUEST, END_OF_HEAD, REQUEST

BACKLOG = 4096
READ_SIZE = 64 * 1024


class Backend:
    """Serves the given listening sockets until the standard input is closed."""

    def __init__(self, listeners: list[socket.socket], bulk_source: socket.socket) -> None:
        self._bulk_source = bulk_source
        # socket.accept() without the Python object around the descriptor, which would be this
        # process's cost and not the balancer's; typeshed has public names only.
        self._accepts = {each.fileno(): each._accept for each in listeners}  # type: ignore[attr-defined]
        self._epoll = select.epoll()
        for fd in (*self._accepts, sys.stdin.fileno()):
            self._epoll.register(fd, select.EPOLLIN)

    def serve(self) -> None:
        """Answer until the standard input is closed."""
        stdin = sys.stdin.fileno()
        accepts, register = self._accepts, self._epoll.register
        while True:
            for fd, _ in self._epoll.poll():
                if accept := accepts.get(fd):
                    register(accept()[0], select.EPOLLIN)
                elif fd == stdin:
                    return
                else:
                    self._answer(fd)

    def _answer(self, fd: int) -> None:
        try:
            data = os.read(fd, READ_SIZE)
            if data == REQUEST:
                os.write(fd, ANSWER)
            elif not data:
                os.close(fd)
            else:
                self._answer_other(fd, data)
        except ConnectionError:
            os.close(fd)

    def _answer_other(self, fd: int, data: bytes) -> None:
        """Answer what is not our own load's small request: bulk, or several requests of wrk."""
        if data.startswith(BULK_REQUEST):
            socket.send_fds(self._bulk_source, [b"."], [fd])
            # Closing alone would not do: the connection lives on in the other process.
            self._epoll.unregister(fd)
            os.close(fd)
        else:
            os.write(fd, ANSWER * data.count(END_OF_HEAD))


def _listen() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    # What is accepted inherits it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def main(ports: int, policy: Policy) -> None:
    """Listen on so many free ports, print them on one line, and serve.

    Bulk takes turns with the rest if that is a batch job too; otherwise it gives way.
    """
    bulk_source = start_bulk_source(Policy.BATCH if policy is Policy.BATCH else Policy.IDLE)
    policy.apply()
    listeners = [_listen() for _ in range(ports)]
    print(*(listener.getsockname()[1] for listener in listeners), flush=True)
    gc.disable()  # nothing here makes cycles
    Backend(listeners, bulk_source).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), Policy(int(sys.argv[2])))

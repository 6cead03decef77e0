"""Idle pairs: connections that were used once and are then only kept."""

from __future__ import annotations

import os
import select

from bench.load.client import READ_SIZE, WrongAnswerError, connect, wait
from bench.wire import ANSWER, REQUEST

AT_ONCE = 64
"""Connections opened before their answers are waited for: no backlog overflows."""


class IdlePairs:
    """Holds connections, each of which a backend has answered on once: it is there end to end."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._fds: list[int] = []

    def open(self, count: int) -> None:
        """Open `count` more."""
        while count > 0:
            self._open_some(min(count, AT_ONCE))
            count -= AT_ONCE

    def _open_some(self, count: int) -> None:
        with select.epoll() as epoll:
            for _ in range(count):
                fd = connect(self._port)
                self._fds.append(fd)
                os.write(fd, REQUEST)
                epoll.register(fd, select.EPOLLIN | select.EPOLLONESHOT)
            waiting = count
            while waiting:
                for fd, _ in wait(epoll):
                    data = os.read(fd, READ_SIZE)
                    if data != ANSWER:
                        raise WrongAnswerError(data)
                    waiting -= 1

    def close(self) -> None:
        """Close them all."""
        for fd in self._fds:
            os.close(fd)

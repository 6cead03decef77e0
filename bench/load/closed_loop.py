"""Closed loops: what is done begins anew, so the balancer is always busy."""

from __future__ import annotations

import os
import select
import time

from bench.load.client import READ_SIZE, WrongAnswerError, connect, connect_kept, wait
from bench.wire import ANSWER, REQUEST


class Connects:
    """Connect, one small request, and the client closes when it has the answer; then again."""

    def __init__(self, port: int, concurrency: int) -> None:
        self._port = port
        self._epoll = select.epoll()
        self._open: set[int] = set()
        self.units = 0
        self.latencies: list[int] = []
        for _ in range(concurrency):
            self._begin()

    def run(self, seconds: float) -> None:
        """Keep going for so long."""
        read, close, begin, opened = os.read, os.close, self._begin, self._open
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for fd, _ in wait(self._epoll):
                data = read(fd, READ_SIZE)
                opened.remove(fd)
                close(fd)
                if data != ANSWER:
                    raise WrongAnswerError(data)
                self.units += 1
                begin()

    def _begin(self) -> None:
        fd = connect(self._port)
        os.write(fd, REQUEST)
        self._open.add(fd)
        self._epoll.register(fd, select.EPOLLIN)

    def reset(self) -> None:
        """Count from here."""
        self.units = 0

    def close(self) -> None:
        """Close what is open."""
        for fd in self._open:
            os.close(fd)


class Requests:
    """Small requests on kept connections: the next one goes when the answer is there."""

    def __init__(self, port: int, connections: int) -> None:
        self._epoll = select.epoll()
        self._sent_at: dict[int, int] = {}
        self.units = 0
        self.latencies: list[int] = []
        """Nanoseconds."""
        for _ in range(connections):
            fd = connect_kept(port)
            self._sent_at[fd] = time.monotonic_ns()
            os.write(fd, REQUEST)
            self._epoll.register(fd, select.EPOLLIN)

    def run(self, seconds: float) -> None:
        """Keep going for so long."""
        read, write, now = os.read, os.write, time.monotonic_ns
        sent_at, took = self._sent_at, self.latencies.append
        end = now() + int(seconds * 1e9)
        while now() < end:
            for fd, _ in wait(self._epoll):
                data = read(fd, READ_SIZE)
                if data != ANSWER:
                    raise WrongAnswerError(data)
                answered_at = now()
                took(answered_at - sent_at[fd])
                sent_at[fd] = answered_at
                write(fd, REQUEST)
        self.units = len(self.latencies)

    def reset(self) -> None:
        """Count from here."""
        self.latencies.clear()

    def close(self) -> None:
        """Close the connections."""
        for fd in self._sent_at:
            os.close(fd)

"""An open loop: requests are due at a constant rate, whether or not the last ones are answered.

Latency counts from the moment a request was due, not from when a connection was free to send it. A
balancer that stops for a while cannot hide it by slowing the load down.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections import deque
from pathlib import Path

from bench.load.client import (
    PATIENCE,
    READ_SIZE,
    StalledError,
    WrongAnswerError,
    connect_kept,
)
from bench.wire import ANSWER, REQUEST


class OpenLoop:
    """Small requests at a constant rate (requests per second) over some kept connections."""

    def __init__(self, port: int, connections: int, rate: float) -> None:
        _wake_up_on_time()
        self._interval = 1e9 / rate
        self._epoll = select.epoll()
        self._free: deque[int] = deque()
        self._due: dict[int, float] = {}
        """When the request was due that a connection waits for, in nanoseconds."""
        self._next_due = 0.0
        self._last_answer = 0
        self.latencies: list[int] = []
        """Nanoseconds since each answered request was due."""
        for _ in range(connections):
            fd = connect_kept(port)
            self._epoll.register(fd, select.EPOLLIN)
            self._free.append(fd)

    @property
    def units(self) -> int:
        """Requests answered."""
        return len(self.latencies)

    def run(self, seconds: float) -> None:
        """Keep going for so long. What is overdue at the end counts with the time it waits."""
        now = time.monotonic_ns()
        end = now + int(seconds * 1e9)
        self._next_due = max(self._next_due, now)
        self._last_answer = now
        while now < end:
            self._send_what_is_due(now)
            self._wait(now, end)
            self._take_answers()
            now = time.monotonic_ns()
        if now - self._last_answer > PATIENCE * 1e9:
            raise StalledError

    def count_overdue(self) -> None:
        """Count what is not answered by now as if it had been."""
        now = time.monotonic_ns()
        self.latencies += [int(now - due) for due in self._due.values()]
        while self._next_due < now:
            self.latencies.append(int(now - self._next_due))
            self._next_due += self._interval

    def _send_what_is_due(self, now: int) -> None:
        while self._next_due <= now and self._free:
            fd = self._free.popleft()
            os.write(fd, REQUEST)
            self._due[fd] = self._next_due
            self._next_due += self._interval

    def _wait(self, now: int, end: int) -> None:
        # epoll waits for whole milliseconds; select(2) on the epoll's descriptor for microseconds.
        until = min(self._next_due, end) if self._free else end
        if until > now:
            select.select([self._epoll], [], [], (until - now) / 1e9)

    def _take_answers(self) -> None:
        for fd, _ in self._epoll.poll(0):
            data = os.read(fd, READ_SIZE)
            if data != ANSWER:
                raise WrongAnswerError(data)
            self._last_answer = time.monotonic_ns()
            self.latencies.append(int(self._last_answer - self._due.pop(fd)))
            self._free.append(fd)

    def reset(self) -> None:
        """Count from here."""
        self.latencies.clear()

    def close(self) -> None:
        """Close the connections."""
        for fd in (*self._free, *self._due):
            os.close(fd)


def _wake_up_on_time() -> None:
    """Let the kernel wake this process within a microsecond, not within its usual 50."""
    with contextlib.suppress(OSError):
        Path("/proc/self/timerslack_ns").write_text("1000")

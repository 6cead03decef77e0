"""A bounded pool of pipes, through which bulk goes from socket to socket inside the kernel."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

PIPE_SIZE = 1024 * 1024
"""Bytes that a pipe is to hold. The kernel may allow less (pipe-user-pages-soft, pipe(7))."""

_KEPT = 16


class Pipe:
    """A non-blocking pipe. `held` bytes are in it."""

    __slots__ = ("held", "into", "out_of")

    def __init__(self) -> None:
        """Raises OSError when there are no descriptors left."""
        self.out_of, self.into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held = 0
        with suppress(OSError):  # then it is smaller, and works as well
            fcntl.fcntl(self.into, fcntl.F_SETPIPE_SZ, PIPE_SIZE)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.out_of)
        os.close(self.into)


class PipePool:
    """Lends out at most `limit` pipes; without one, bytes are copied instead."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._idle: list[Pipe] = []
        self.lent = 0

    def take(self) -> Pipe | None:
        """Return an empty pipe, or None if there are no more, or no descriptors for one."""
        if self.lent >= self._limit:
            return None
        try:
            pipe = self._idle.pop() if self._idle else Pipe()
        except OSError:
            return None
        self.lent += 1
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """Take a pipe back. One with bytes left in it is of no more use."""
        self.lent -= 1
        if pipe.held or len(self._idle) >= _KEPT:
            pipe.close()
        else:
            self._idle.append(pipe)

    def close(self) -> None:
        """Close the pipes that are not lent out."""
        while self._idle:
            self._idle.pop().close()

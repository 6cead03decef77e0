"""Lets several processes write to one log in turns, so that their lines do not get mixed up.

A pipe takes only 4 KiB in one piece; longer writes of two processes may interleave in the middle of
a line. The lock is on a byte of a file in memory that all of them have open: the kernel frees it
when its holder ends, however that happens.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import AbstractContextManager
from types import TracebackType

from tcplb.control.shared_file import shared_file

_ACCESS, _APPLICATION = 0, 1
_RETRY = 0.01


class Turn(AbstractContextManager[None]):
    """The right to write to one log, from `__enter__` to `__exit__`."""

    def __init__(self, descriptor: int, byte: int) -> None:
        self._descriptor = descriptor
        self._byte = byte

    def __enter__(self) -> None:
        """Wait for the turn."""
        while not self._locked():
            time.sleep(_RETRY)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the turn to the next one."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._byte)

    def _locked(self) -> bool:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, self._byte)
        except OSError as error:
            # The kernel looks for deadlocks between processes and does not know of threads: two
            # processes, each with one log in a write that takes its time and waiting for the other
            # log, look like one.
            if error.errno != errno.EDEADLK:
                raise
            return False
        return True


class Turns:
    """The turns of both logs."""

    def __init__(self, descriptor: int) -> None:
        """Use the file that `create` has made, in this process or in its parent."""
        self.descriptor = descriptor
        self.access = Turn(descriptor, _ACCESS)
        self.application = Turn(descriptor, _APPLICATION)

    @classmethod
    def create(cls) -> Turns:
        """Make new turns; processes that are given the descriptor share them."""
        return cls(shared_file("tcplb turns", 2))

    @classmethod
    def adopt(cls, descriptor: int) -> Turns:
        """Share the turns of the process that has handed this descriptor over."""
        os.set_inheritable(descriptor, False)
        return cls(descriptor)

    def close(self) -> None:
        """Close the file: this process writes to neither log any more."""
        os.close(self.descriptor)

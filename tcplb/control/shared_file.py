"""Files that are in memory alone, to be shared with child processes by their descriptor."""

from __future__ import annotations

import os
import sys
import tempfile


def shared_file(name: str, size: int) -> int:
    """Return the descriptor of a new file of `size` zero bytes; it is gone when all have closed it.

    `name` is only for whoever looks at the process from outside. Children do not inherit the
    descriptor unless it is passed to them.
    """
    descriptor = _open(name)
    os.ftruncate(descriptor, size)
    return descriptor


if sys.platform == "linux":

    def _open(name: str) -> int:
        return os.memfd_create(name)

else:

    def _open(name: str) -> int:
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())

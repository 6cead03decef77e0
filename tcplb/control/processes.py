"""What the system says of a process: its files. 0 where it does not say, as on other systems."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def open_files(pid: int) -> tuple[int, int]:
    """Return how many descriptors a process of this user has open, and how many it may have."""
    folder = Path("/proc", str(pid))
    try:
        opened = len(os.listdir(folder / "fd"))  # noqa: PTH208 - a Path for each would cost more
        limits = (folder / "limits").read_text()
    except OSError:
        return 0, 0
    most = 0
    for line in limits.splitlines():
        if line.startswith("Max open files"):
            with contextlib.suppress(ValueError):
                most = int(line.split()[3])
    return opened, most

"""Which processes came of a command, by a mark in their environment."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from uuid import uuid4


class Mark:
    """A variable of the environment that all processes of one command inherit."""

    def __init__(self) -> None:
        self._value = uuid4().hex
        self.environment = {"TEST_MARK": self._value}

    def processes(self) -> dict[int, str]:
        """Return the command of each by its pid."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                if self._value.encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        return found

    def pid_of(self, part: str) -> int:
        """Return the pid of the one process with `part` in its command."""
        (pid,) = (pid for pid, command in self.processes().items() if part in command)
        return pid

    def kill(self) -> None:
        """Kill them all, such as what a test that failed has left."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

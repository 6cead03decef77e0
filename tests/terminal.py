"""A command in a terminal of its own, and what can be read on that terminal."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from tests.processes import WAIT

HOME = "\x1b[H"
"""What rich begins a picture of a live view with."""

_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_WITH_TERMINAL = (
    "import fcntl, os, sys, termios;"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
"""Makes standard input the controlling terminal: so ^C comes from it, and SIGHUP when it closes."""


class Terminal:
    """A pseudo-terminal, and a command that runs on it. Its output is read while one waits."""

    def __init__(
        self,
        *command: str,
        size: tuple[int, int] = (80, 24),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._ours, self._theirs = os.openpty()
        self.resize(*size)
        self.settings_before = self.settings()
        self.output = ""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("TCPLB_")}
        # Many run at once, and only one of them could have the usual admin port.
        inherited["TCPLB_ADMIN_BIND"] = "none"
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WITH_TERMINAL, *command],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env=inherited | {"TERM": "xterm-256color"} | dict(environment or {}),
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.wait()
            finally:
                self.process.kill()
                self.process.wait()
        self.close()

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def stop_output(self) -> None:
        """Let whoever writes to it wait from now on."""
        termios.tcflow(self._theirs, termios.TCOOFF)

    def settings(self) -> list[Any]:
        """Return what `tcgetattr` says of it."""
        return termios.tcgetattr(self._theirs)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        """Take the terminal away."""
        for descriptor in (self._theirs, self._ours):
            if descriptor >= 0:
                os.close(descriptor)
        self._ours = self._theirs = -1

    def screen(self) -> list[str]:
        """Return the lines of the last whole picture of a live view; none if there is none."""
        pictures = self.output.split(HOME)[1:-1]
        return _STYLE.sub("", pictures[-1]).split("\r\n") if pictures else []

    def wait_for_screen(self, pattern: str) -> re.Match[str]:
        """Wait until a line of the live view matches."""
        found: list[re.Match[str]] = []

        def seen() -> bool:
            found[:] = [m for line in self.screen() if (m := re.search(pattern, line))]
            return bool(found)

        self._read_until(seen, f"no line on the screen matches {pattern!r}")
        return found[0]

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the whole output matches."""
        self._read_until(lambda: bool(re.search(pattern, self.output)), f"no {pattern!r}")
        found = re.search(pattern, self.output)
        assert found
        return found

    def wait(self) -> int:
        """Wait until the command ends by itself; return the exit code, with all its output read."""
        self._read_until(lambda: self.process.poll() is not None, "it did not end")
        self._read(0)
        return int(self.process.wait())

    def _read_until(self, condition: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + WAIT
        while not condition():
            shown = "\n".join(self.screen()) or self.output
            assert time.monotonic() < deadline, f"{complaint}; it shows:\n{shown}"
            self._read(0.05)

    def _read(self, seconds: float) -> None:
        """Read what is there within that time, and what comes right behind it."""
        while self._ours >= 0 and select.select([self._ours], [], [], seconds)[0]:
            self.output += os.read(self._ours, 1 << 16).decode(errors="replace")
            seconds = 0

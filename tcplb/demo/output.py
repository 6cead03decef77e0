"""Writes to standard output in a thread, so that a reader who does not read stops nothing else."""

from __future__ import annotations

import os
import queue
import select
import threading
from collections.abc import Callable

CLOSE_TIME = 1.0
"""Seconds that what is left may take to be written at the end."""

_FEW = 4
"""Texts."""


class Output:
    """A descriptor to write text to. Has what rich asks of a file."""

    encoding = "utf-8"

    def __init__(self, descriptor: int, *, on_error: Callable[[], None]) -> None:
        """Begin; `on_error` is called in the thread, once, when nothing can be written any more."""
        self._descriptor = descriptor
        self._on_error = on_error
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.error: OSError | None = None
        # A daemon: if the reader never reads, the end of the process does not wait for it.
        self._thread = threading.Thread(target=self._write_all, name="demo output", daemon=True)
        self._thread.start()

    @property
    def behind(self) -> bool:
        """Whether so much waits to be written that the reader must be slow, or gone for a walk."""
        return self._waiting.qsize() > _FEW

    def write(self, text: str) -> int:
        """Have `text` written soon. Never waits."""
        self._waiting.put(text.encode(errors="replace"))
        return len(text)

    def flush(self) -> None:
        """Do nothing: all is written as soon as it can be."""

    def isatty(self) -> bool:
        """Whether this is a terminal."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def close(self) -> None:
        """Write what is left, if that can be done in `CLOSE_TIME`."""
        self._waiting.put(None)
        self._thread.join(CLOSE_TIME)

    def _write_all(self) -> None:
        while (data := self._waiting.get()) is not None:
            try:
                self._write(data)
            except OSError as error:
                self.error = error
                self._on_error()
                return

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # somebody who has the same terminal wanted it so
                select.select([], [self._descriptor], [])

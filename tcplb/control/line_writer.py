"""Writes log lines from a thread, so that no disk, pipe or terminal can hold up the event loop.

Lines that cannot be written now (a full disk, a pipe that nobody reads) are kept, up to a bound,
and written when they can be. What is lost beyond that is counted and said.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

MAX_WAITING = 100_000
"""Lines kept while they cannot be written."""

_LINES_PER_WRITE = 1000
_RETRY = 0.5
_RETRY_FULL_PIPE = 0.02
_READER_GONE = {errno.EPIPE, errno.ECONNRESET, errno.EBADF}

Report = Callable[[str], None]


class LineWriter:
    """Appends lines to a file or stream. `write` never blocks and never raises."""

    def __init__(
        self,
        name: str,
        open_target: Callable[[], int],
        *,
        gather: float,
        report: Report,
        max_waiting: int = MAX_WAITING,
        turn: AbstractContextManager[object] | None = None,
    ) -> None:
        """Write to the descriptor that `open_target` returns; it is ours from then on.

        Lines of `gather` seconds go into one write. `report` is told in words when lines cannot
        be written and when they can again; it is called from the writing thread. At most
        `max_waiting` lines are kept. Lines are written within `turn`, where other processes write
        to the same target. Raises OSError if `open_target` does.
        """
        self._name = name
        self._open_target = open_target
        self._descriptor = open_target()
        self._gather = gather
        self._report = report
        self._max_waiting = max_waiting
        self._turn: AbstractContextManager[object] = nullcontext() if turn is None else turn
        self._lines: deque[str] = deque()
        self.lost = 0
        """Lines that were dropped because too many waited, or nobody will ever read them."""
        self._in_trouble = False
        self._reader_gone = False
        self._reopen = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"write {name}", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Take a line, without its end, to be written soon."""
        if self._reader_gone or len(self._lines) >= self._max_waiting:
            self.lost += 1
            return
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def reopen(self) -> None:
        """Open the target anew before the next write: a log rotation has moved it away."""
        self._reopen = True
        self._wake.set()

    def close(self, timeout: float) -> None:
        """Write what is left, for at most `timeout` seconds; what then remains is lost."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout)
        if self._thread.is_alive():  # it hangs in a write
            self.lost += len(self._lines)
        else:
            os.close(self._descriptor)

    # -- in the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._stop.wait(self._gather)
            self._wake.clear()
            self._flush()
            self._open_again_if_asked()
        self._flush()  # what came after the last look at the lines and before `close`

    def _open_again_if_asked(self) -> None:
        if not self._reopen:
            return
        self._reopen = False
        try:
            descriptor = self._open_target()
        except OSError as error:
            self._report(f"cannot reopen {self._name}: {error.strerror}; the old one stays in use")
            return
        os.close(self._descriptor)
        self._descriptor = descriptor

    def _flush(self) -> None:
        while self._lines:
            # By index: to iterate fails if another thread adds a line meanwhile.
            batch = [self._lines[n] for n in range(min(len(self._lines), _LINES_PER_WRITE))]
            # After taking the batch: no line that came after `reopen` goes to the old target.
            self._open_again_if_asked()
            data = "".join(f"{line}\n" for line in batch).encode(errors="backslashreplace")
            with self._turn:
                written = self._write_all(data)
            for _ in batch:  # only now, so that they count while they wait
                self._lines.popleft()
            if not written:
                self.lost += len(batch)

    def _write_all(self, data: bytes) -> bool:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except OSError as error:
                if not self._wait_for_better_times(error):
                    return False
                self._open_again_if_asked()
        if self._in_trouble:
            self._in_trouble = False
            self._report(f"{self._name} can be written again; {self.lost} lines were lost")
        return True

    def _wait_for_better_times(self, error: OSError) -> bool:
        """Return False if there is no use in trying again."""
        if error.errno in _READER_GONE:
            self._reader_gone = True
            self._report(f"nobody reads {self._name} any more: its lines are dropped from now on")
            return False
        if isinstance(error, BlockingIOError):
            return not self._stop.wait(_RETRY_FULL_PIPE)
        if not self._in_trouble:
            self._in_trouble = True
            self._report(
                f"cannot write {self._name}: {error.strerror}; "
                f"up to {self._max_waiting} lines are kept until it can be written"
            )
        return not self._stop.wait(_RETRY)

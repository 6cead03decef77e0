"""The two logs of a process: the application's, and the access log."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TextIO

from tcplb.control.application_log import CLOSE_TIME, ApplicationLog, LogFormat
from tcplb.control.line_writer import LineWriter
from tcplb.control.turns import Turns
from tcplb.dataplane.record import Record, RecordSink, to_json, to_tcplog
from tcplb.errors import LogFileError

_ACCESS_GATHER = 0.1
_FILE_MODE = 0o640

log = logging.getLogger("tcplb.log")


class Logs(AbstractContextManager["Logs"]):
    """Both logs, open from `__enter__` to `__exit__`."""

    def __init__(
        self,
        access: str,
        log_format: LogFormat,
        level: str,
        *,
        turns: Turns | None = None,
        worker: int | None = None,
    ) -> None:
        """Prepare logs; `access` is a path, "-" for stdout, or "none".

        `turns` is needed where several processes write to the same logs; `worker` is the number
        that the application log's lines carry, if any.
        """
        self._access = access
        self._to_line = to_json if log_format == "json" else to_tcplog
        self._turns = turns
        turn = None if turns is None else turns.application
        self._application = ApplicationLog(log_format, level, turn=turn, worker=worker)
        self._open = ExitStack()
        self._writer: LineWriter | None = None
        self.record: RecordSink | None = None
        """Where records go; None if nowhere."""

    def __enter__(self) -> Logs:
        """Open the logs. Raises LogFileError."""
        with ExitStack() as opened:
            opened.enter_context(self._application)
            if target := access_target(self._access):
                self._writer = target.writer(self._turns)
                self.record = partial(_write_record, self._writer.write, self._to_line)
            self._open = opened.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write out what is left and close."""
        if self._writer is not None:
            self._writer.close(CLOSE_TIME)
            if self._writer.lost:
                log.error("the access log lost %d lines", self._writer.lost)
        self._open.close()

    def set_level(self, level: str) -> None:
        """Write messages of `level` and above from now on."""
        self._application.set_level(level)

    def reopen(self) -> None:
        """Open the access log's file anew, after a log rotation."""
        if self._writer is not None:
            self._writer.reopen()


def _write_record(
    write: Callable[[str], None], form: Callable[[Record], str], record: Record
) -> None:
    write(form(record))


class AccessTarget:
    """Where the access log goes."""

    def __init__(self, name: str, open_target: Callable[[], int]) -> None:
        self._name = name
        self._open_target = open_target

    def open(self) -> int:
        """Return a new descriptor to write to. Raises LogFileError."""
        try:
            return self._open_target()
        except OSError as error:
            raise LogFileError(f"cannot open {self._name}: {error.strerror}") from error

    def writer(self, turns: Turns | None) -> LineWriter:
        """Return a writer of the log. Raises LogFileError."""
        turn = None if turns is None else turns.access
        try:
            return LineWriter(
                self._name, self._open_target, gather=_ACCESS_GATHER, report=log.error, turn=turn
            )
        except OSError as error:
            raise LogFileError(f"cannot open {self._name}: {error.strerror}") from error


def access_target(access: str) -> AccessTarget | None:
    """Return the target of the access log: a path, "-" for stdout; nowhere for "none"."""
    if access == "none":
        return None
    if access == "-":
        return AccessTarget("the access log (stdout)", partial(_duplicate, sys.stdout))
    return AccessTarget(f"the access log {access}", partial(_open_file, Path(access)))


class HeldOpen(AbstractContextManager["HeldOpen"]):
    """Holds the access log open for the workers that write it.

    So a log that cannot be opened is known before there are workers, and the reader of a named pipe
    sees no end of it when one of them is replaced.
    """

    def __init__(self, access: str) -> None:
        self._target = access_target(access)
        self._descriptor: int | None = None

    def __enter__(self) -> HeldOpen:
        """Open it. Raises LogFileError."""
        if self._target is not None:
            self._descriptor = self._target.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        if self._descriptor is not None:
            os.close(self._descriptor)

    def reopen(self) -> None:
        """Hold the new file of that name after a log rotation, so that the old one can go."""
        if self._target is None or self._descriptor is None:
            return
        try:
            descriptor = self._target.open()
        except LogFileError:
            return  # the workers find the same, and say so
        os.close(self._descriptor)
        self._descriptor = descriptor


def _duplicate(stream: TextIO | None) -> int:
    """Return a descriptor of its own for a standard stream, which stays open for others.

    Python has None for one that was closed when the process began: that is an OSError.
    """
    if stream is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return os.dup(stream.fileno())


def _open_file(path: Path) -> int:
    # O_NONBLOCK is for a named pipe: without a reader, opening it would wait for ever.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    return os.open(path, flags, _FILE_MODE)

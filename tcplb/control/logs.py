"""Sets up the two logs: the application's on stderr, and the access log."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, TextIO

from tcplb.control.line_writer import LineWriter
from tcplb.dataplane.record import Record, RecordSink, to_json, to_tcplog
from tcplb.errors import LogFileError

LogFormat = Literal["text", "json"]

_ACCESS_GATHER = 0.1
_CLOSE_TIME = 2.0
_FILE_MODE = 0o640

log = logging.getLogger("tcplb.log")


class Logs(AbstractContextManager["Logs"]):
    """Both logs, open from `__enter__` to `__exit__`."""

    def __init__(self, access: str, log_format: LogFormat, level: str) -> None:
        """Prepare logs; `access` is a path, "-" for stdout, or "none"."""
        self._access = access
        self._format = log_format
        self._level = level
        self._access_writer: LineWriter | None = None
        self.record: RecordSink = lambda record: None

    def __enter__(self) -> Logs:
        """Open the logs. Raises LogFileError."""
        self._errors = LineWriter("stderr", _duplicate_stderr, gather=0.0, report=_ignore)
        self._handler = _LineHandler(self._errors)
        self._handler.setFormatter(_JsonFormatter() if self._format == "json" else _TextFormatter())
        root = logging.getLogger()
        root.addHandler(self._handler)
        self._level_before = root.level
        root.setLevel(self._level.upper())
        try:
            self._access_writer = _open_access_log(self._access)
        except BaseException:
            self._close_application_log()
            raise
        if self._access_writer is not None:
            form = to_json if self._format == "json" else to_tcplog
            self.record = partial(_write_record, self._access_writer.write, form)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write out what is left and close."""
        if self._access_writer is not None:
            self._access_writer.close(_CLOSE_TIME)
            if self._access_writer.lost:
                log.error("the access log lost %d lines", self._access_writer.lost)
        self._close_application_log()

    def reopen(self) -> None:
        """Open the access log's file anew, after a log rotation."""
        if self._access_writer is not None:
            self._access_writer.reopen()

    def _close_application_log(self) -> None:
        root = logging.getLogger()
        root.removeHandler(self._handler)
        root.setLevel(self._level_before)
        self._errors.close(_CLOSE_TIME)


def _ignore(message: str) -> None:
    """There is nowhere left to report trouble with stderr to."""


def _write_record(
    write: Callable[[str], None], form: Callable[[Record], str], record: Record
) -> None:
    write(form(record))


def _open_access_log(access: str) -> LineWriter | None:
    if access == "none":
        return None
    if access == "-":
        name, target = "the access log (stdout)", partial(_duplicate, sys.stdout)
    else:
        name, target = f"the access log {access}", partial(_open_file, Path(access))
    try:
        return LineWriter(name, target, gather=_ACCESS_GATHER, report=log.error)
    except OSError as error:
        raise LogFileError(f"cannot open {name}: {error.strerror}") from error


def _duplicate(stream: TextIO | None) -> int:
    """Return a descriptor of its own for a standard stream, which stays open for others.

    Python has None for one that was closed when the process began: that is an OSError.
    """
    if stream is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return os.dup(stream.fileno())


def _duplicate_stderr() -> int:
    # Without one there is nobody to complain to; serving goes on.
    return os.open(os.devnull, os.O_WRONLY) if sys.stderr is None else _duplicate(sys.stderr)


def _open_file(path: Path) -> int:
    # O_NONBLOCK is for a named pipe: without a reader, opening it would wait for ever.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    return os.open(path, flags, _FILE_MODE)


class _LineHandler(logging.Handler):
    """Hands formatted records to a LineWriter."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.write(self.format(record))
        except Exception:  # noqa: BLE001 - what logging asks of a handler: a log call never raises
            self.handleError(record)


class _TextFormatter(logging.Formatter):
    """``2026-11-22T14:03:07.123Z warning tcplb.health: …``, control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage().translate(_CONTROL_CHARACTERS)
        line = f"{_utc(record)} {record.levelname.lower():7} {record.name}: {message}"
        if not record.exc_info:
            return line
        # A traceback is ours, of an internal error, and keeps its lines. They are indented, so
        # that nothing in the error's own text can pass for a line of the log.
        traceback = self.formatException(record.exc_info).split("\n")
        return "\n".join(
            [line, *(f"  {part.translate(_CONTROL_CHARACTERS)}" for part in traceback)]
        )


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": _utc(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


_CONTROL_CHARACTERS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def _utc(record: logging.LogRecord) -> str:
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{clock}.{int(record.msecs):03d}Z"

"""The application's log, on stderr: what happens to tcplb itself."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Literal

from tcplb.control.line_writer import LineWriter
from tcplb.control.turns import Turn

LogFormat = Literal["text", "json"]

CLOSE_TIME = 2.0
"""Seconds that a log may take to write what is left."""


class ApplicationLog(AbstractContextManager["ApplicationLog"]):
    """Writes what is logged anywhere in this process, from `__enter__` to `__exit__`."""

    def __init__(
        self,
        log_format: LogFormat,
        level: str,
        *,
        turn: Turn | None = None,
        worker: int | None = None,
    ) -> None:
        """Prepare it; `worker` is the number that its lines carry, if any, and `turn` is needed
        where several processes log.
        """
        self._formatter = _JsonFormatter(worker) if log_format == "json" else _TextFormatter(worker)
        self._level = level
        self._turn = turn

    def __enter__(self) -> ApplicationLog:
        """Begin to write."""
        self._writer = LineWriter(
            "stderr", _duplicate_stderr, gather=0.0, report=_ignore, turn=self._turn
        )
        self._handler = _LineHandler(self._writer)
        self._handler.setFormatter(self._formatter)
        root = logging.getLogger()
        root.addHandler(self._handler)
        self._level_before = root.level
        root.setLevel(self._level.upper())
        return self

    def set_level(self, level: str) -> None:
        """Write messages of `level` and above from now on."""
        logging.getLogger().setLevel(level.upper())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write out what is left and end."""
        root = logging.getLogger()
        root.removeHandler(self._handler)
        root.setLevel(self._level_before)
        self._writer.close(CLOSE_TIME)


def _ignore(message: str) -> None:
    """There is nowhere left to report trouble with stderr to."""


def _duplicate_stderr() -> int:
    # Without one there is nobody to complain to; serving goes on.
    if sys.stderr is None:
        return os.open(os.devnull, os.O_WRONLY)
    return os.dup(sys.stderr.fileno())


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

    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._prefix = "" if worker is None else f"worker {worker}: "

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage().translate(_CONTROL_CHARACTERS)
        line = f"{_utc(record)} {record.levelname.lower():7} {record.name}: {self._prefix}{message}"
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

    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._worker: dict[str, object] = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": _utc(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._worker,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


_CONTROL_CHARACTERS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def _utc(record: logging.LogRecord) -> str:
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{clock}.{int(record.msecs):03d}Z"

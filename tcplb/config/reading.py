"""From a file to a Document, or to one clear problem why not."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tcplb.config.document import Document, file_origin
from tcplb.config.lines import key_lines
from tcplb.config.wording import printable
from tcplb.errors import ConfigError, Problem

_DEEPEST = 50  # tables in tables; far more than any setting, far less than Python's stack
_TOML_ERROR = re.compile(
    r"(?P<reason>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)",
    re.DOTALL,
)
_LONGEST_REASON = 200


def read(path: Path) -> Document:
    """The TOML file at `path`, with the line of each value as its origin.

    Raises ConfigError, with a single problem, if it cannot be read or is not TOML.
    """
    name = str(path)
    text = _decode(_read_bytes(path), name)
    try:
        data = tomllib.loads(text)
        lines = key_lines(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_problem(str(error), text, name) from None
    except RecursionError:
        raise _problem(name, "is nested too deeply") from None
    except ValueError as error:  # a number with thousands of digits, a day that does not exist
        raise _problem(name, f"is not valid TOML: {_tidy(str(error))}") from None
    if any(len(key) > _DEEPEST for key in lines):
        raise _problem(name, "is nested too deeply")
    origins = {key: file_origin(name, line) for key, line in lines.items()}
    return Document(data, {(): file_origin(name, 1), **origins})


def may_never_end(path: Path) -> bool:
    """Whether reading there might take for ever: from a pipe or a terminal, say."""
    try:
        return path.is_fifo() or path.is_char_device()
    except ValueError:  # a NUL in the name
        return False


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise _problem(str(path), "no such file") from None
    except IsADirectoryError:
        raise _problem(str(path), "is a directory, not a file") from None
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        raise _problem(str(path), f"cannot be read: {reason}") from None
    except ValueError:  # a NUL in the name
        raise _problem(str(path), "is not a file name") from None


def _decode(content: bytes, name: str) -> str:
    try:
        # Editors on Windows put a byte order mark at the start, which tomllib does not take.
        return content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise _problem(f"{name}:{line}", f"is not UTF-8 text (byte 0x{byte:02x})") from None


def _syntax_problem(error: str, text: str, name: str) -> ConfigError:
    match = _TOML_ERROR.fullmatch(error)
    if match is None:
        return _problem(name, f"is not valid TOML: {_tidy(error)}")
    line = match["line"] or max(1, len(text.splitlines()))
    column = f" (column {match['column']})" if match["column"] else " (at the end of the file)"
    return _problem(f"{name}:{line}", f"is not valid TOML: {_tidy(match['reason'])}{column}")


def _tidy(reason: str) -> str:
    text = printable(reason[:1].lower() + reason[1:])
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


def _problem(where: str, message: str) -> ConfigError:
    return ConfigError([Problem(printable(where), "", message)])

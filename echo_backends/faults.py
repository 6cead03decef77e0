"""What a backend does wrong on purpose, and how a person writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

_SIZE = re.compile(r"(\d+)(B|kB|KiB|MB|MiB|GB|GiB)?")
_BYTES = {
    "B": 1,
    "kB": 10**3,
    "KiB": 2**10,
    "MB": 10**6,
    "MiB": 2**20,
    "GB": 10**9,
    "GiB": 2**30,
}

_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[\x00-\x7f]?)")
_ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
_WRITTEN = {0x0D: r"\r", 0x0A: r"\n", 0x09: r"\t", 0x5C: r"\\"}


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of one backend; the default is none.

    delay: seconds waited before every answer or echo.
    refuse: bound but not listening, so that connects are refused.
    reset_after: bytes sent back on a connection, after which it is reset; 0 resets on accept.
    close_after: the same, but closed in order, with a FIN.
    stall: accepts, then neither reads nor sends.
    greeting: sent first, before the client says anything. It counts as bytes sent back.

    refuse goes before stall, and stall before everything else. Raises ValueError if both
    reset_after and close_after are given.
    """

    delay: float = 0.0
    refuse: bool = False
    reset_after: int | None = None
    close_after: int | None = None
    stall: bool = False
    greeting: bytes = b""

    def __post_init__(self) -> None:
        """Reject what contradicts itself."""
        if self.reset_after is not None and self.close_after is not None:
            raise ValueError("a connection ends by a reset or by a close, not by both")

    @property
    def limit(self) -> int | None:
        """Bytes that may be sent back on a connection; None for any number."""
        return self.close_after if self.reset_after is None else self.reset_after


def parse_duration(text: str) -> float:
    """Seconds, from `50ms` or `2s`. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write it like 50ms, 2s or 1.5m")
    number, unit = match.groups()
    return float(number) * _SECONDS[unit]


def parse_size(text: str) -> int:
    """Bytes, from `1000` or `64KiB`. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write it like 1000, 64KiB or 1MiB")
    number, unit = match.groups()
    return int(number) * _BYTES[unit or "B"]


def parse_greeting(text: str) -> bytes:
    r"""Bytes, from text in which \r, \n, \t, \0, \\ and \xff stand for what they mean.

    Raises ValueError for any other escape.
    """
    return _ESCAPE.sub(_unescape, text.encode())


def format_greeting(greeting: bytes) -> str:
    """ASCII from which parse_greeting makes these bytes again."""
    return "".join(_WRITTEN.get(byte) or _write(byte) for byte in greeting)


def _unescape(match: re.Match[bytes]) -> bytes:
    letters = match[1]
    if len(letters) == 3:
        return bytes.fromhex(letters[1:].decode())
    if letters not in _ESCAPES:
        raise ValueError(rf"{match[0].decode()} means nothing; \r \n \t \0 \\ and \x41 do")
    return _ESCAPES[letters]


def _write(byte: int) -> str:
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"

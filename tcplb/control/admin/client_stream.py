"""Reads a stream of server-sent events: what came over the wire in, messages out.

The format is that of the HTML standard, §9.2, as far as the admin API uses it: ``id`` and ``data``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

LARGEST_MESSAGE = 16 * 2**20
"""Bytes; the figures of 50,000 backends are less."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a stream."""

    data: str
    id: str | None
    """To be named as Last-Event-ID by who comes back."""


class MessageParser:
    """Puts messages together from pieces that end anywhere."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0
        self._data: list[str] = []
        self._size = 0
        self._id: str | None = None

    def feed(self, piece: bytes) -> Iterator[Message]:
        """Yield the messages that `piece` completes.

        Raises ValueError if it is no text, or a message is larger than `LARGEST_MESSAGE`.
        """
        self._rest += piece
        while (end := self._rest.find(b"\n", self._searched)) >= 0:
            line = self._rest[:end].removesuffix(b"\r").decode()
            del self._rest[: end + 1]
            self._searched = 0
            message = self._line(line)
            if message is not None:
                yield message
        self._searched = len(self._rest)
        if self._size + len(self._rest) > LARGEST_MESSAGE:
            raise ValueError(f"a message is larger than {LARGEST_MESSAGE} bytes")

    def _line(self, line: str) -> Message | None:
        if not line:
            return self._complete()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
            self._size += len(line)
        elif field == "id":
            self._id = value
        return None

    def _complete(self) -> Message | None:
        if not self._data:  # a comment that keeps the connection alive
            return None
        message = Message("\n".join(self._data), self._id)
        self._data.clear()
        self._size = 0
        return message

"""From a connection's first bytes to what it speaks. Pure: no sockets, no clock."""

from __future__ import annotations

import re
from enum import Enum, auto

import httptools

from echo_backends.naming import QUESTION, may_become_question

MAX_FIRST_LINE = 8192
"""Bytes without an end of line after which nobody waits for one any longer (8 KiB)."""

# llhttp also takes HTTP/0.9 and HTTP/2.0, and RTSP for some methods.
_HTTP_1 = re.compile(rb" HTTP/1\.[01]\r\n$")


class Speech(Enum):
    """What a client speaks."""

    HTTP = auto()
    NAMING = auto()
    """The question who serves, and then raw bytes."""
    RAW = auto()
    UNDECIDED = auto()


def sniff(data: bytes) -> Speech:
    """Judge a connection by its first line, which is as much of `data` as is looked at.

    Nothing after that line counts, so the verdict does not depend on how the network happened to
    cut the bytes. A line that cannot become a request line, nor the question who serves, is RAW
    before it has ended.
    """
    if data.startswith(QUESTION):
        return Speech.NAMING
    if may_become_question(data):
        return Speech.UNDECIDED
    # RFC 9112 §2.2: empty lines before a request line are ignored. They are no verdict either.
    before, newline, _ = data.lstrip(b"\r\n").partition(b"\n")
    line = before + newline
    try:
        httptools.HttpRequestParser(object()).feed_data(line)
    except httptools.HttpParserError:
        return Speech.RAW
    if newline:
        return Speech.HTTP if _HTTP_1.search(line) else Speech.RAW
    return Speech.UNDECIDED if len(data) < MAX_FIRST_LINE else Speech.RAW

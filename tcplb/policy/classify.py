"""From a client's first bytes to the key that places it on the ring.

Bytes in, a verdict out: a `RequestTarget`, `NEED_MORE`, or `NOT_HTTP`. llhttp (by httptools) is
the judge of what an HTTP request line is, so a method in lower case, a Redis command or a TLS
hello is known for what it is as soon as its bytes say so, not after a time-out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

import httptools

MAX_FIRST_LINE = 8192
"""Bytes of a request line, without its line end, that are waited for (8 KiB)."""


# llhttp also accepts HTTP/0.9, RTSP and the preface of HTTP/2, whose target (*) would send all its
# clients to one backend.
_HTTP_1 = re.compile(rb" HTTP/1\.\d$")


class Verdict(Enum):
    """What the bytes so far cannot be."""

    NEED_MORE = auto()
    NOT_HTTP = auto()


NEED_MORE = Verdict.NEED_MORE
NOT_HTTP = Verdict.NOT_HTTP


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """The target of an HTTP/1.x request line, in origin-form where it had an absolute-form."""

    target: bytes


class _RequestLine:
    """Collects what llhttp reports of the request line."""

    def __init__(self) -> None:
        self.target = b""

    def on_url(self, url: bytes) -> None:
        self.target += url


def classify(data: bytes) -> RequestTarget | Verdict:
    """Judge the first bytes of a connection. Anything after the first line is ignored.

    `NEED_MORE` means that `data` so far begins an HTTP request line, or is empty.
    """
    # RFC 9112 §2.2: a server should ignore an empty line before the request line.
    # Such lines have the same bound, apart: the verdict must not hang on how the bytes came in.
    start = data.lstrip(b"\r\n")
    line, newline, _ = start.partition(b"\n")
    bare = line.removesuffix(b"\r")
    if len(bare) > MAX_FIRST_LINE or len(data) - len(start) > MAX_FIRST_LINE:
        return NOT_HTTP
    request = _RequestLine()
    parser = httptools.HttpRequestParser(request)
    try:
        # A bare LF ends a line as well (RFC 9112 §2.2); llhttp by itself insists on CRLF.
        parser.feed_data(bare + b"\r\n" if newline else line)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return NOT_HTTP
    if not newline:
        return NEED_MORE
    if not _HTTP_1.search(bare):
        return NOT_HTTP
    return RequestTarget(origin_form(request.target))


def origin_form(target: bytes) -> bytes:
    """Reduce an absolute-form target to origin-form (RFC 9112 §3.2), so that both forms agree.

    ``http://any.name/x?y`` becomes ``/x?y``; everything else is returned as it is.
    """
    scheme, separator, rest = target.partition(b"://")
    if not separator or not scheme.isalnum():
        return target
    for index, byte in enumerate(rest):
        if byte in b"/?":
            path = rest[index:]
            return path if path.startswith(b"/") else b"/" + path
    return b"/"


def first_line(data: bytes) -> bytes | Verdict:
    """Return the first line of a connection in any protocol, without its line end (LF or CRLF).

    `NEED_MORE` means that it has not ended yet, `NOT_HTTP` that it is too long to be one.
    """
    line, newline, _ = data.partition(b"\n")
    if len(line) > MAX_FIRST_LINE + 1:
        return NOT_HTTP
    return line.removesuffix(b"\r") if newline else NEED_MORE

"""The audit log: one line for each change that somebody asked for, made or refused."""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web

from tcplb.config.wording import printable

log = logging.getLogger("tcplb.audit")

_LONGEST = 500
_CREDENTIALS = struct.Struct("iII")  # struct ucred, unix(7)


class Audit:
    """Writes the lines; those of a client that tries tokens only as far as they tell something."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` gives seconds."""
        self._now = now
        self._last_flood = 0

    def note(self, request: web.BaseRequest, status: int, body: bytes, why: str) -> None:
        """Write the line of a request that was answered with `status`."""
        if status == HTTPStatus.TOO_MANY_REQUESTS and not self._is_first_of_flood():
            return
        log.log(
            logging.INFO if status < HTTPStatus.BAD_REQUEST else logging.WARNING,
            "%s: %s %s %s: %d%s",
            _who(request),
            request.method,
            _fit(request.raw_path),
            _fit(body.decode("utf-8", "replace")) or "-",
            status,
            f" ({_fit(why)})" if why else "",
        )

    def _is_first_of_flood(self) -> bool:
        second = int(self._now())
        is_first = second != self._last_flood
        self._last_flood = second
        return is_first


def _who(request: web.BaseRequest) -> str:
    transport = request.transport
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is not None and sock.family == socket.AF_UNIX:
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(raw)
        return f"uid {uid} (pid {pid})"
    peer = transport.get_extra_info("peername") if transport is not None else None
    return f"{peer[0]} port {peer[1]}" if peer else "a client that has left"


def _fit(text: str) -> str:
    shown = printable(text[:_LONGEST])
    return f"{shown}..." if len(text) > _LONGEST else shown

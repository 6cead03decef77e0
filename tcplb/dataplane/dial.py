"""Connecting to a backend, and judging what went wrong."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from tcplb.policy.backend import Backend
from tcplb.policy.outcome import Outcome

SocketAddress = tuple[Any, ...]
"""What `socket.connect` takes: (host, port), for IPv6 with flow and scope."""

_OUTCOMES = {
    errno.ECONNREFUSED: Outcome.REFUSED,
    errno.ECONNRESET: Outcome.REFUSED,
    errno.ETIMEDOUT: Outcome.TIMED_OUT,
    # Ours, not the backend's: out of descriptors, of memory, or of local ports.
    errno.EMFILE: Outcome.NO_RESOURCES,
    errno.ENFILE: Outcome.NO_RESOURCES,
    errno.ENOBUFS: Outcome.NO_RESOURCES,
    errno.ENOMEM: Outcome.NO_RESOURCES,
    errno.EADDRNOTAVAIL: Outcome.NO_RESOURCES,
    errno.EAGAIN: Outcome.NO_RESOURCES,
}


def outcome_of(error: OSError) -> Outcome:
    """Return what an error of a dial says, and so whether it is the backend's fault."""
    if isinstance(error, socket.gaierror):
        return Outcome.UNRESOLVED
    if isinstance(error, TimeoutError):
        return Outcome.TIMED_OUT
    return _OUTCOMES.get(error.errno or 0, Outcome.UNREACHABLE)


async def connect(backend: Backend) -> socket.socket:
    """Return a non-blocking socket connected to `backend`. Raises OSError, the last one met.

    A name may have several addresses; they are tried in the resolver's order.
    """
    loop = asyncio.get_running_loop()
    error: OSError = OSError(errno.EADDRNOTAVAIL, "the name has no address")
    for family, address in await _resolve(loop, backend):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            await _connect(loop, sock, address)
            _refuse_self_connect(sock)
        except OSError as failure:
            sock.close()
            error = failure
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise error


async def _connect(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, address: SocketAddress
) -> None:
    # Not `loop.sock_connect`: uvloop's sends even an IP address through getaddrinfo in a thread,
    # which costs more than all the rest of a dial (docs/performance.md).
    error = sock.connect_ex(address)
    if error == errno.EINPROGRESS:
        connected = loop.create_future()
        loop.add_writer(sock, _set_done, connected)
        try:
            await connected
        finally:
            loop.remove_writer(sock)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _resolve(
    loop: asyncio.AbstractEventLoop, backend: Backend
) -> list[tuple[int, SocketAddress]]:
    family = _family_of(backend.host)
    if family is not None:
        return [(family, (backend.host, backend.port))]
    try:
        found = await loop.getaddrinfo(backend.host, backend.port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or longer than 63 bytes
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
    return [(family, address) for family, _, _, _, address in found]


@lru_cache(maxsize=4096)
def _family_of(host: str) -> int | None:
    """Return the address family of an IP address, None for a name."""
    try:
        version = ip_address(host).version
    except ValueError:
        return None
    return socket.AF_INET if version == 4 else socket.AF_INET6


def _refuse_self_connect(sock: socket.socket) -> None:
    # Dialling a dead port of this machine, the kernel may pick that very port as the source, and
    # TCP's simultaneous open then connects the socket to itself.
    if sock.getsockname() == sock.getpeername():
        raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself")

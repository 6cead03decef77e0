"""Connecting to a backend, and judging what went wrong."""

from __future__ import annotations

import asyncio
import errno
import socket
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
            await loop.sock_connect(sock, address)
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


async def _resolve(
    loop: asyncio.AbstractEventLoop, backend: Backend
) -> list[tuple[int, SocketAddress]]:
    try:
        version = ip_address(backend.host).version
    except ValueError:
        found = await loop.getaddrinfo(backend.host, backend.port, type=socket.SOCK_STREAM)
        return [(family, address) for family, _, _, _, address in found]
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return [(family, (backend.host, backend.port))]


def _refuse_self_connect(sock: socket.socket) -> None:
    # Dialling a dead port of this machine, the kernel may pick that very port as the source, and
    # TCP's simultaneous open then connects the socket to itself.
    if sock.getsockname() == sock.getpeername():
        raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself")

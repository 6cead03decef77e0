"""Connecting to a backend, and judging what went wrong."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

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


class Target(NamedTuple):
    """An address that can be connected to."""

    family: int
    address: SocketAddress
    may_be_us: bool
    """Whether the kernel may pick this very port as the source of a connection to it."""


@lru_cache(maxsize=4096)
def known_target(host: str, port: int) -> Target | None:
    """Return the target that an IP address and a port are, None for a name."""
    try:
        version = ip_address(host).version
    except ValueError:
        return None
    return _target(socket.AF_INET if version == 4 else socket.AF_INET6, (host, port))


async def resolve(host: str, port: int) -> list[Target]:
    """Return the targets of a host, for a name in the resolver's order. Raises OSError."""
    known = known_target(host, port)
    if known is not None:
        return [known]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or longer than 63 bytes
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
    return [_target(family, address) for family, _, _, _, address in found]


def _target(family: int, address: SocketAddress) -> Target:
    first, last = _local_ports()
    return Target(family, address, first <= address[1] <= last)


@lru_cache(maxsize=1)
def _local_ports() -> tuple[int, int]:
    """Return the range that the kernel picks source ports from (ip(7)), or else all ports."""
    try:
        first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        return int(first), int(last)
    except (OSError, ValueError):
        return 1, 65535


def connected_to_itself(sock: socket.SocketType, target: Target) -> bool:
    """Whether `sock`, connected to `target`, is connected to itself.

    Dialling a dead port of this machine, the kernel may pick that very port as the source, and
    TCP's simultaneous open then connects the socket to itself.
    """
    me = sock.getsockname()
    return bool(me[1] == target.address[1] and me == sock.getpeername())


def connect_error(number: int) -> OSError:
    """Return the error that a connect ended with; 0 stands for one to itself."""
    number = number or errno.ECONNREFUSED
    return OSError(number, os.strerror(number))


async def connect(backend: Backend) -> socket.socket:
    """Return a non-blocking socket connected to `backend`. Raises OSError, the last one met.

    A name may have several addresses; they are tried in the resolver's order.
    """
    loop = asyncio.get_running_loop()
    error: OSError = OSError(errno.EADDRNOTAVAIL, "the name has no address")
    for target in await resolve(backend.host, backend.port):
        sock = socket.socket(target.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            await _connect(loop, sock, target)
        except OSError as failure:
            sock.close()
            error = failure
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    try:
        raise error
    finally:
        del error  # it knows this frame, and no cycle may be left to the garbage collector


async def _connect(loop: asyncio.AbstractEventLoop, sock: socket.socket, target: Target) -> None:
    # Not `loop.sock_connect`: uvloop's sends even an IP address through getaddrinfo in a thread,
    # which costs more than all the rest of a dial (docs/performance.md).
    error = sock.connect_ex(target.address)
    if error == errno.EINPROGRESS:
        connected = loop.create_future()
        loop.add_writer(sock, _set_done, connected)
        try:
            await connected
        finally:
            loop.remove_writer(sock)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error or (target.may_be_us and connected_to_itself(sock, target)):
        raise connect_error(error)


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

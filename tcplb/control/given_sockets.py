"""Sockets that this process was given at its start: by systemd, or by the tcplb before it.

systemd passes descriptors from 3 on and says so in LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES
(sd_listen_fds(3)). A tcplb that is upgraded in place names them in TCPLB_SOCKETS: descriptors with
commas between, each with its listener's address and name, as in ``7@:80@web,8@:80@web,9@:53@db``.
The address is how the settings have it; a socket that systemd gave may be bound to another one.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tcplb.config.units import format_address
from tcplb.config.wording import printable
from tcplb.control.sockets import addresses, endpoint

VARIABLE = "TCPLB_SOCKETS"
_VARIABLES = (VARIABLE, "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")
_FIRST = 3
"""The first descriptor that is no standard stream: SD_LISTEN_FDS_START."""
_MOST = 4096
_BACKLOG = 65535  # as `sockets.py` has it: the kernel cuts it to net.core.somaxconn


@dataclass(frozen=True, slots=True)
class _Given:
    sock: socket.socket
    name: str
    """What LISTEN_FDNAMES or TCPLB_SOCKETS calls it; may be empty."""
    where: str | None = None
    """What the listener's address was in the tcplb before this one; None if systemd gave it."""

    def __str__(self) -> str:
        what = f"descriptor {self.sock.fileno()}"
        if self.name:
            what += f" ({printable(self.name)})"
        if self.sock.family == socket.AF_UNIX:
            return f"{what}: a Unix socket, which is not for a listener"
        return f"{what}, bound to {endpoint(self.sock)}"


class GivenSockets:
    """Listening sockets that wait for the listener they are meant for."""

    def __init__(self, given: list[_Given], problems: Iterable[str] = ()) -> None:
        self._given = given
        self.problems = tuple(problems)
        """In words, what was named and cannot be listened on; it is closed already."""

    def take(self, host: str, port: int, name: str) -> list[socket.socket]:
        """Return the sockets for the listener called `name`; they are the caller's from now on.

        Those that are bound to what `host` and `port` resolve to, those from systemd that have
        the listener's name, and those that were handed over by a listener of that name and address,
        whatever they are bound to. Of one address there may be several, for it may be shared. A
        host that cannot be resolved is bound by nobody: to say so is left to who opens a socket
        then.
        """
        wanted = self._wanted(host, port)
        mine = [one for one in self._given if _is_for(one, wanted, host, port, name)]
        self._given = [one for one in self._given if one not in mine]
        return [one.sock for one in mine]

    @property
    def left(self) -> tuple[str, ...]:
        """Those that nobody has taken, in words."""
        return tuple(map(str, self._given))

    def close(self) -> None:
        """Close those that nobody has taken."""
        for one in self._given:
            one.sock.close()
        self._given = []

    def _wanted(self, host: str, port: int) -> list[_Address]:
        if not self._given:
            return []
        try:
            return [_plain(family, address) for family, address in addresses(host, port)]
        except (OSError, UnicodeError):
            return []


def given_sockets(environ: Mapping[str, str], pid: int) -> GivenSockets:
    """Return what `environ` says was given to this process, whose number is `pid`.

    From here on the sockets are not inherited, do not block, and have the options of those that
    tcplb opens itself. What is named there and is no listening stream socket is closed. Raises
    nothing: what is wrong is in `problems`, in words.
    """
    problems: list[str] = []
    named = dict[int, tuple[str, str | None]]()
    for number, name in _from_systemd(environ, pid, problems):
        named[number] = (name, None)
    for number, name, where in _handed_over(environ, problems):
        if number in named:
            problems.append(f"{VARIABLE}: descriptor {number} is named twice")
        else:
            named[number] = (name, where)
    given = []
    for number, (name, listened) in named.items():
        try:
            given.append(_Given(_adopt(number), name, listened))
        except OSError as error:
            problems.append(f"descriptor {number}: {error.strerror or error}")
    return GivenSockets(given, problems)


@dataclass(frozen=True, slots=True)
class Served:
    """A listening socket, and the name, host and port of its listener."""

    sock: socket.socket
    name: str
    host: str
    port: int


def hand_over(sockets: Iterable[Served]) -> dict[str, str]:
    """Return the variable by which the next tcplb finds `sockets`.

    The descriptors have to be passed on under the same numbers, as ``pass_fds`` does.
    """
    words = (
        f"{each.sock.fileno()}@{format_address(each.host, each.port)}@{each.name}"
        for each in sockets
    )
    return {VARIABLE: ",".join(words)}


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` for processes that are not given these sockets."""
    return {name: value for name, value in environ.items() if name not in _VARIABLES}


# -- what the environment says ----------------------------------------------------------------


def _from_systemd(
    environ: Mapping[str, str], pid: int, problems: list[str]
) -> Iterator[tuple[int, str]]:
    if environ.get("LISTEN_PID") != str(pid):
        return  # for another process, which has left its environment to this one
    count = _number(environ.get("LISTEN_FDS", ""))
    if count is None or count > _MOST:
        problems.append("LISTEN_FDS is no number of descriptors that could be")
        return
    names = environ["LISTEN_FDNAMES"].split(":") if "LISTEN_FDNAMES" in environ else [""] * count
    if len(names) != count:
        problems.append(f"LISTEN_FDNAMES has {len(names)} names for {count} descriptors")
        names = [""] * count
    yield from enumerate(names, _FIRST)


def _handed_over(environ: Mapping[str, str], problems: list[str]) -> Iterator[tuple[int, str, str]]:
    words = environ.get(VARIABLE, "")
    for word in words.split(",") if words else ():
        text, _, listener = word.partition("@")
        where, _, name = listener.partition("@")
        number = _number(text)
        if number is None or number < _FIRST:
            problems.append(f"{VARIABLE}: {text[:20]!a} is no descriptor from {_FIRST} on")
        else:
            yield number, name, where


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


# -- one socket -------------------------------------------------------------------------------


def _adopt(number: int) -> socket.socket:
    """Return the listening socket that descriptor `number` is. Raises OSError, and closes it."""
    try:
        os.set_inheritable(number, False)
        sock = socket.socket(fileno=number)
    except OSError:
        _close(number)
        raise
    try:
        _check(sock)
        _set_options(sock)
    except OSError:
        sock.close()
        raise
    return sock


def _close(number: int) -> None:
    try:
        os.close(number)
    except OSError:
        return  # there is none


def _check(sock: socket.socket) -> None:
    """Raise OSError with words if nobody can connect to `sock`."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        raise OSError("neither a TCP nor a Unix socket")
    if sock.type != socket.SOCK_STREAM:
        raise OSError("not a stream socket")
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise OSError("not a listening socket")


def _set_options(sock: socket.socket) -> None:
    """Set what `sockets.open_listening_sockets` sets, as far as it can be set afterwards."""
    sock.setblocking(False)
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.listen(_BACKLOG)


# -- whose it is ------------------------------------------------------------------------------

_Address = tuple[int, str, int, int]
"""Family, IP address, port, and the scope of an IPv6 address."""


def _is_for(one: _Given, wanted: list[_Address], host: str, port: int, name: str) -> bool:
    if one.sock.family == socket.AF_UNIX:
        return False
    # What one listener has served goes on to serve it, as over a reload.
    if one.name == name and one.where in (None, format_address(host, port)):
        return True
    bound = _plain(one.sock.family, one.sock.getsockname())
    if not host and bound[1] == "::" and _is_ipv6_only(one.sock):
        return False
    return bound in wanted


def _plain(family: int, address: tuple[str, int] | tuple[str, int, int, int]) -> _Address:
    """Return `address` so that two of the same are equal, wherever they are from."""
    scope = address[3] if len(address) == 4 else 0
    return family, address[0], address[1], scope


def _is_ipv6_only(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))

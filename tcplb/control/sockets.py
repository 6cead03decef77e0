"""Opens the listening sockets, before anything else is started."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from tcplb.errors import BindError

_BACKLOG = 65535  # the kernel cuts it to net.core.somaxconn, so that is the one place to tune
_KNOWN = {
    errno.EADDRINUSE: "the address is in use; is another tcplb running?",
    errno.EACCES: "not permitted; ports below 1024 need root or CAP_NET_BIND_SERVICE",
    errno.EPERM: "not permitted; ports below 1024 need root or CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "no network interface of this machine has that address",
}


def open_listening_sockets(
    bind: str, host: str, port: int, *, share: bool = False
) -> list[socket.socket]:
    """Return non-blocking listening sockets for `host` and `port`, one an address of the host.

    An empty host means all addresses, IPv4 and IPv6. `bind` is how the user wrote it, for the
    error. With `share`, others of this process may have the address already. Raises BindError; then
    none of the sockets stays open.
    """
    opened: list[socket.socket] = []
    try:
        for family, address in addresses(host, port):
            opened.append(_open(family, address, share=share))
    except (OSError, UnicodeError) as error:
        for sock in opened:
            sock.close()
        raise BindError(f"cannot listen on {bind}: {_reason(error)}") from error
    return opened


def open_another(sock: socket.socket) -> socket.socket:
    """Return one more listening socket on the address of `sock`: the kernel spreads clients.

    Raises OSError.
    """
    return _open(sock.family, sock.getsockname(), share=True)


def endpoint(sock: socket.socket) -> str:
    """Return the address that `sock` is bound to, as HOST:PORT."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):  # from the IDNA codec that getaddrinfo uses
        return "not a host name: a part between the dots is empty or too long"
    return _KNOWN.get(error.errno or 0) or error.strerror or str(error)


def addresses(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    """Return the family and address of each socket that a listener on `host` and `port` needs.

    An empty host means all addresses. Raises OSError, or UnicodeError for what is no host name.
    """
    if not host and socket.has_dualstack_ipv6():
        return [(socket.AF_INET6, ("::", port))]
    found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)
    return list({address: (family, address) for family, _, _, _, address in found}.values())


def _open(family: int, address: tuple[Any, ...], *, share: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            only_v6 = address[0] != "::"
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
        # What is accepted inherits these two.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # The first one is bound without it, so that an address that another tcplb listens on is an
        # error as ever; after that, our own others may join.
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


class SocketSets:
    """The listening sockets, in sets: each has one socket for each address that is listened on.

    A set is what a worker accepts on. These copies stay open as long as anybody may accept on them,
    so that no worker's end closes a queue that has clients in it.
    """

    def __init__(self, first: Sequence[tuple[int, socket.socket]]) -> None:
        """Begin with one set: sockets, each with the number of the address that it is bound to."""
        self._sets = [tuple(first)]

    def __len__(self) -> int:
        return len(self._sets)

    def __getitem__(self, number: int) -> tuple[tuple[int, socket.socket], ...]:
        return self._sets[number]

    def open_another(self) -> None:
        """Open one more set, on the same addresses. Raises OSError; then nothing stays open."""
        self._sets.append(_open_others(self._sets[0]))

    def add_given(self, more: Sequence[tuple[int, socket.socket]]) -> None:
        """Take in further sockets of our addresses, in as many more sets as that needs."""
        for address, sock in more:
            lacking = (n for n, each in enumerate(self._sets) if address not in dict(each))
            number = next(lacking, len(self._sets))
            if number == len(self._sets):
                self._sets.append(())
            self._sets[number] += ((address, sock),)

    def complete(self) -> None:
        """Open what a set lacks and the first one has. Raises OSError."""
        for number, each in enumerate(self._sets):
            known = dict(each)
            lacking = [(address, sock) for address, sock in self._sets[0] if address not in known]
            self._sets[number] += _open_others(lacking)

    def add(self, first: Sequence[tuple[int, socket.socket]]) -> None:
        """Take in sockets for more addresses, and open others for the other sets.

        Raises OSError; then nothing has changed, and `first` is not ours.
        """
        with contextlib.ExitStack() as opened:
            more = [
                tuple(
                    (address, opened.enter_context(open_another(sock))) for address, sock in first
                )
                for _ in self._sets[1:]
            ]
            opened.pop_all()
        self._sets = [old + new for old, new in zip(self._sets, [tuple(first), *more], strict=True)]

    def remove(self, addresses: Collection[int]) -> None:
        """Close the sockets of these addresses."""
        for each in self._sets:
            for address, sock in each:
                if address in addresses:
                    sock.close()
        self._sets = [
            tuple((address, sock) for address, sock in each if address not in addresses)
            for each in self._sets
        ]

    def close(self) -> None:
        """Close these copies."""
        for each in self._sets:
            for _, sock in each:
                sock.close()


def _open_others(
    sockets: Iterable[tuple[int, socket.socket]],
) -> tuple[tuple[int, socket.socket], ...]:
    """Return another socket for each. Raises OSError; then none stays open."""
    with contextlib.ExitStack() as opened:
        others = tuple(
            (address, opened.enter_context(open_another(sock))) for address, sock in sockets
        )
        opened.pop_all()
    return others

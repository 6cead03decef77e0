"""Opens the admin port's listening socket, and says what it is called."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from tcplb.config.admin import UNIX, AdminConfig
from tcplb.config.units import format_address, parse_address
from tcplb.config.wording import quote
from tcplb.control.admin.security import KnownHosts
from tcplb.control.sockets import open_listening_sockets
from tcplb.errors import BindError

_BACKLOG = 128


def open_admin_socket(bind: str) -> socket.socket:
    """Return a listening socket for a `bind` that is not "none". Raises BindError.

    A host name that has several addresses is listened to on the first of them, IPv4 before IPv6.
    """
    if bind.startswith(UNIX):
        return _open_unix(Path(bind.removeprefix(UNIX)))
    opened = open_listening_sockets(bind, *parse_address(bind, bind=True))
    first, *others = sorted(opened, key=lambda sock: sock.family != socket.AF_INET)
    for sock in others:
        sock.close()
    return first


def bound_to(sock: socket.socket) -> str:
    """Return where a socket listens, in the form of a bind, with the port that it has got."""
    if sock.family == socket.AF_UNIX:
        return f"{UNIX}{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return format_address(host, port)


def is_of_this_machine(sock: socket.socket) -> bool:
    """Whether only processes of this machine can reach a socket."""
    return sock.family == socket.AF_UNIX or ip_address(sock.getsockname()[0]).is_loopback


def known_hosts(sock: socket.socket, config: AdminConfig) -> KnownHosts | None:
    """Return the names that clients may use for a socket; None for a Unix socket: any."""
    if sock.family == socket.AF_UNIX:
        return None
    host, port = sock.getsockname()[:2]
    own = ["localhost", "127.0.0.1", "[::1]", _in_url(host)]
    if not config.bind.startswith(UNIX):
        own.append(_in_url(parse_address(config.bind, bind=True)[0]))
    any_address = ip_address(host).is_unspecified
    return KnownHosts(own, port, more=config.hosts, any_address=any_address)


def remove_unix_socket(path: str) -> None:
    """Remove the file of a Unix socket that was closed, unless somebody listens on it by now."""
    with contextlib.suppress(OSError):
        if not _is_in_use(Path(path)):
            Path(path).unlink()


def tls_context(config: AdminConfig) -> ssl.SSLContext | None:
    """Return what HTTPS needs; None if it is not asked for. Raises BindError."""
    if config.tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.tls_certificate, config.tls_key, password=_no_password)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise BindError(
            f"cannot listen on {config.bind}: cannot use the certificate "
            f"{quote(config.tls_certificate)} with the key {quote(str(config.tls_key))}: {reason}"
        ) from error
    return context


def _no_password() -> str:
    # Without it, OpenSSL would ask for one on the terminal and wait.
    raise ValueError("the key has a password")


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _open_unix(path: Path) -> socket.socket:
    bind = f"{UNIX}{path}"
    try:
        if _is_in_use(path):
            raise BindError(f"cannot listen on {bind}: the socket is in use; is tcplb running?")
        _remove_left_over(path)
        return _bind_unix(path)
    except OSError as error:
        raise BindError(f"cannot listen on {bind}: {_reason(error)}") from error


def _bind_unix(path: Path) -> socket.socket:
    with _closed_on_error(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as sock:
        sock.bind(str(path))
        # Before it listens: until then nobody can connect, whatever the mode.
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
        return sock


@contextmanager
def _closed_on_error(sock: socket.socket) -> Iterator[socket.socket]:
    try:
        yield sock
    except BaseException:
        sock.close()
        raise


def _is_in_use(path: Path) -> bool:
    """Whether anybody listens on the Unix socket at `path`. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(path)) in (0, errno.EAGAIN)


def _remove_left_over(path: Path) -> None:
    """Remove the socket of a process that has ended without doing so; nothing else."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    path.unlink()


def _reason(error: OSError) -> str:
    if error.errno == errno.EEXIST:
        return "there is a file of that name, which is not a socket"
    if error.errno == errno.ENOENT:
        return "there is no such directory"
    return error.strerror or str(error)

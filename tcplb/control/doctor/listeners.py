"""Can the addresses be bound that listeners want?"""

from __future__ import annotations

import errno
import socket
from typing import Any

from tcplb.config.models import ListenerConfig
from tcplb.control.doctor.finding import Finding, ok, problem, warning
from tcplb.control.sockets import addresses

_PRIVILEGED = (
    "AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit file, or sysctl -w "
    "net.ipv4.ip_unprivileged_port_start="
)


def check_listener(config: ListenerConfig) -> Finding:
    """Check that `config`'s address can be bound, without listening: no client notices."""
    check = f"listener {config.name}"
    try:
        wanted = addresses(config.host, config.port)
    except (OSError, UnicodeError) as error:
        what = f"the host of {config.bind} cannot be resolved: {_words(error)}"
        return problem(check, what, "use an IP address, or :PORT for all addresses")
    for family, address in wanted:
        failure = _bind(family, address, share=False)
        if failure is not None:
            return _cannot(check, config, failure, _bind(family, address, share=True) is None)
    return ok(check, f"{config.bind} can be bound")


def _bind(family: int, address: tuple[Any, ...], *, share: bool) -> OSError | None:
    """Bind as tcplb would, or as one that joins a tcplb would; return the error, if any."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if share:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                only_v6 = address[0] != "::"
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
            sock.bind(address)
    except OSError as error:
        return error
    return None


def _cannot(check: str, config: ListenerConfig, error: OSError, shared: bool) -> Finding:
    bind, port = config.bind, config.port
    match error.errno:
        case errno.EADDRINUSE if shared:
            what = f"{bind} is in use, by a program that shares it as a running tcplb does"
            return warning(check, what, "all is well if that is the tcplb that these settings run")
        case errno.EADDRINUSE:
            return problem(
                check,
                f"{bind} is in use",
                f"see by whom, and stop it unless it is your tcplb: ss -ltnp 'sport = :{port}'",
            )
        case errno.EACCES | errno.EPERM:
            what = f"{bind} needs privileges: this user may not bind port {port}"
            return problem(check, what, f"{_PRIVILEGED}{port}")
        case errno.EADDRNOTAVAIL:
            what = f"{bind}: no network interface of this machine has that address"
            return problem(check, what, "ip address shows those there are")
        case _:
            what = f"{bind} cannot be bound: {_words(error)}"
            return problem(check, what, "use another address")


def _words(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):  # from the IDNA codec that getaddrinfo uses
        return "not a host name"
    return error.strerror or str(error)

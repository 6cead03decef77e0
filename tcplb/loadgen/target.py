"""From what the user wrote as a target to an address that may be loaded."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from tcplb.loadgen.errors import TargetError
from tcplb.loadgen.job import Target

PROBE_TIMEOUT = 1.0
"""Seconds that an address has to accept a connection, if there are several to choose from."""

_HERE = "127.0.0.1"
_HTTP_PORT = 80

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)")
_PORT = re.compile(r"[0-9]{1,5}")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_IPV4_LIKE = re.compile(r"[0-9.]+")

_WRITTEN = "write it like 127.0.0.1:9090 or http://127.0.0.1:9090/"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A target as it was written, with nothing looked up."""

    host: str
    """A name or an IP address, without brackets."""
    port: int
    path: str | None = None
    """The path (with any query) of an HTTP target; None for raw TCP."""

    @property
    def host_header(self) -> str:
        """What the Host header says (RFC 9110, section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _HTTP_PORT else f"{host}:{self.port}"


def parse_target(text: str) -> Endpoint:
    """Read ``HOST:PORT``, ``:PORT`` or ``PORT`` (of 127.0.0.1), or ``http://HOST[:PORT][/PATH]``.

    Raises TargetError.
    """
    _check_characters(text)
    match = _SCHEME.fullmatch(text)
    if match is None:
        return _parse_raw(text)
    scheme, rest = match[1].lower(), match[2]
    if scheme == "https":
        raise TargetError(f"{text!r} asks for TLS, which is not spoken here; use http:// or TCP")
    if scheme != "http":
        raise TargetError(f"{text!r} is not understood: the only scheme is http://; {_WRITTEN}")
    return _parse_http(rest, text)


def resolve(text: str, *, allow_remote: bool) -> Target:
    """Look up what the user wrote, and see to it that it may be loaded.

    Of a name's addresses the first is taken that accepts a connection within PROBE_TIMEOUT, or else
    the first. The address, not the name, decides whether the target is on this machine's loopback;
    any other is refused unless `allow_remote`, and is not even connected to. Raises TargetError.
    """
    endpoint = parse_target(text)
    addresses = _look_up(endpoint, text)
    allowed = [address for address in addresses if allow_remote or on_loopback(address)]
    if not allowed:
        raise TargetError(
            f"{_named(text, endpoint.host, addresses[0])} is not on this machine's loopback; "
            "--allow-remote allows that: only load what is yours"
        )
    return Target(
        text=text,
        address=first_that_accepts(allowed, endpoint.port),
        port=endpoint.port,
        path=endpoint.path,
        host="" if endpoint.path is None else endpoint.host_header,
    )


def on_loopback(address: str) -> bool:
    """Whether an IP address is in 127.0.0.0/8, in its IPv4-mapped form too, or is ::1."""
    parsed = ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (mapped or parsed).is_loopback


def first_that_accepts(addresses: Sequence[str], port: int) -> str:
    """Return the first of the IP addresses that accepts a connection, or else the first.

    A single one is not tried.
    """
    if len(addresses) > 1:
        for address in addresses:
            if _accepts(address, port):
                return address
    return addresses[0]


def _check_characters(text: str) -> None:
    for character in text:
        if character == " ":
            raise TargetError(f"{text!r} has a space in it; {_WRITTEN}")
        if not character.isascii():
            raise TargetError(
                f"{text!r} has a character that is not ASCII; in a path, percent-encode it"
            )
        if not character.isprintable():
            raise TargetError(f"{text!r} has a control character in it; {_WRITTEN}")


def _parse_raw(text: str) -> Endpoint:
    if any(character in text for character in "/?#"):
        raise TargetError(f"{text!r} has a path, but does not begin with http://; {_WRITTEN}")
    if _is_number(text):
        return Endpoint(_HERE, _parse_port(text, text))
    host, port = _cut(text, text)
    if port is None:
        raise TargetError(f"{text!r} has no port; {_WRITTEN}")
    return Endpoint(_parse_host(host or _HERE, text), _parse_port(port, text))


def _parse_http(rest: str, text: str) -> Endpoint:
    if "#" in rest:
        raise TargetError(f"{text!r} has a fragment (#), which is never sent; leave it out")
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    path = rest.removeprefix(authority)
    if not path.startswith("/"):
        path = f"/{path}"
    host, port = _cut(authority, text)
    if not host:
        raise TargetError(f"{text!r} has no host; {_WRITTEN}")
    if _is_number(host):
        raise TargetError(f"{text!r} has a number for a host; {_WRITTEN}")
    number = _HTTP_PORT if port is None else _parse_port(port, text)
    return Endpoint(_parse_host(host, text), number, path)


def _cut(authority: str, text: str) -> tuple[str, str | None]:
    """Return the host, which keeps its brackets, and the port, or None without a colon."""
    if "@" in authority:
        raise TargetError(f"{text!r} has a user or password, which is not sent; leave it out")
    if authority.startswith("["):
        host, bracket, port = authority.partition("]")
        if port and not port.startswith(":"):
            raise TargetError(f"{text!r} has something between ] and the port; {_WRITTEN}")
        return host + bracket, port[1:] if port else None
    host, colon, port = authority.rpartition(":")
    if ":" in host:
        raise TargetError(f"{text!r} is ambiguous: write IPv6 in brackets, as in [::1]:9090")
    return (host, port) if colon else (authority, None)


def _parse_port(port: str, text: str) -> int:
    if not port:
        raise TargetError(f"{text!r} has no port after the colon; {_WRITTEN}")
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        raise TargetError(f"{text!r} has no valid port: it is a number from 1 to 65535")
    return int(port)


def _parse_host(host: str, text: str) -> str:
    try:
        if host.startswith("["):
            return _parse_ipv6(host)
        if _IPV4_LIKE.fullmatch(host):
            return str(IPv4Address(host))
    except ValueError as error:
        raise TargetError(f"{text!r} has no valid IP address in it") from error
    if not _HOST_NAME.fullmatch(host):
        raise TargetError(f"{text!r} has no valid host name in it; {_WRITTEN}")
    return host


def _parse_ipv6(host: str) -> str:
    if not host.endswith("]") or "%" in host:
        raise ValueError(host)
    return str(IPv6Address(host[1:-1]))


def _look_up(endpoint: Endpoint, text: str) -> list[str]:
    try:
        # As bytes, or Python would encode the name, and raise UnicodeError for a long label.
        host = endpoint.host.encode("ascii")
        found = socket.getaddrinfo(host, endpoint.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TargetError(f"{text!r} cannot be found: {error.strerror or error}") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _accepts(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=PROBE_TIMEOUT).close()
    except OSError:
        return False
    return True


def _named(text: str, host: str, address: str) -> str:
    is_address = ":" in host or _IPV4_LIKE.fullmatch(host)
    return text if is_address else f"{text} ({address})"


def _is_number(text: str) -> bool:
    return text.isdigit()

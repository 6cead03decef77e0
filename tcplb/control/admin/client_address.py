"""Where an admin port is, as an operator writes it: HOST:PORT, a URL, or a Unix socket."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from tcplb.config.admin import NO_ADMIN, UNIX, is_local, to_admin_bind
from tcplb.config.units import format_address, parse_address
from tcplb.config.wording import quote

_PORTS = {"http": 80, "https": 443}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where a server is reached that listens on all addresses."""


@dataclass(frozen=True, slots=True)
class AdminAddress:
    """An admin port to connect to."""

    text: str
    """As an operator would write it."""
    url: str
    """Without a path: ``http://127.0.0.1:9091``."""
    path: str | None
    """Of the Unix socket; None for TCP."""
    binds: tuple[str, ...]
    """How its config may have it, the likeliest first; the file of its token is named so."""

    @property
    def tls(self) -> bool:
        """Whether it is spoken to by TLS."""
        return self.url.startswith("https:")

    @property
    def private(self) -> bool:
        """Whether nobody on the way can read what is sent."""
        return self.tls or is_local(self.binds[0])


def parse_admin_address(text: str, *, tls: bool = False) -> AdminAddress:
    """Return the address that `text` means: HOST:PORT, http(s)://HOST[:PORT] or unix:/PATH.

    It may be what a config binds: ``:9091`` and ``0.0.0.0:9091`` are reached by loopback. With
    `tls`, HOST:PORT means https. Raises ValueError, with a text for the user.
    """
    if text == NO_ADMIN:
        raise ValueError('is "none": that balancer has no admin port to talk to')
    if text.startswith(UNIX):
        path = to_admin_bind(text).removeprefix(UNIX)
        return AdminAddress(text, "http://localhost", path, (text,))
    if "://" in text:
        return _of_url(text)
    host, port = parse_address(text, bind=True)
    return _of("https" if tls else "http", host, port, text)


def _of_url(text: str) -> AdminAddress:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL: {error} (got {quote(text)})") from error
    if parts.scheme not in _PORTS or not host:
        raise ValueError(f"must be HOST:PORT, http(s)://… or unix:/PATH (got {quote(text)})")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"must end with the host and the port (got {quote(text)})")
    written = format_address(host, _PORTS[parts.scheme] if port is None else port)
    return _of(parts.scheme, *parse_address(written, bind=True), text)


def _of(scheme: str, host: str, port: int, text: str) -> AdminAddress:
    if port == 0:
        raise ValueError(f"must have a port from 1 to 65535 (got {quote(text)})")
    asked = _ANY.get(host, host)
    hosts = [host]
    if asked in _LOOPBACK:
        hosts += [*_LOOPBACK, *_ANY]
    binds = dict.fromkeys(format_address(each, port) for each in hosts)
    where = format_address(asked, port)
    shown = f"https://{where}" if scheme == "https" else where
    return AdminAddress(shown, f"{scheme}://{where}", None, tuple(binds))

"""Durations and addresses: from what a user writes to numbers, and back."""

from __future__ import annotations

import re
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address

from tcplb.config.wording import quote

_SECONDS = {
    "d": Decimal(86400),
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
_LONGEST_DURATION = "365d"

DURATION_PATTERN = r"^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)$"

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(B|kB|KiB|MB|MiB|GB|GiB)?")
_BYTES = {
    "B": Decimal(1),
    "kB": Decimal(10**3),
    "KiB": Decimal(2**10),
    "MB": Decimal(10**6),
    "MiB": Decimal(2**20),
    "GB": Decimal(10**9),
    "GiB": Decimal(2**30),
}

_PORT = re.compile(r"[0-9]{1,5}")
_IPV4_LIKE = re.compile(r"[0-9.]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_IPV6_LIKE = re.compile(r"[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?")


def parse_duration(text: str) -> float:
    """``250ms``, ``5s``, ``1.5m``, ``1h`` or ``2d`` as seconds, 0 to 365 days.

    Raises ValueError, with a text for the user, for anything else.
    """
    match = re.fullmatch(DURATION_PATTERN, text)
    # `$` would let a final newline pass.
    if match is None or text.endswith("\n"):
        raise ValueError(f"must be a duration such as 250ms, 5s or 1h (got {quote(text)})")
    # Decimal, because 0.001 has no exact float: 3ms must be the float nearest to 0.003.
    seconds = Decimal(match[1]) * _SECONDS[match[2]]
    if seconds > 365 * _SECONDS["d"]:
        raise ValueError(f"must be at most {_LONGEST_DURATION} (got {quote(text)})")
    return float(seconds)


def format_duration(seconds: float) -> str:
    """The shortest whole number of a unit (``1h``, ``90s``, ``250ms``), else decimal seconds.

    `parse_duration` of the result gives exactly `seconds` back.
    """
    exact = Decimal(repr(seconds))
    if exact == 0:
        return "0s"
    for unit, scale in _SECONDS.items():
        count = exact / scale
        if count == count.to_integral_value():
            return f"{count:.0f}{unit}"
    return f"{exact:f}s"


def parse_size(text: str) -> int:
    """``512B``, ``64KiB``, ``1MiB`` or ``1.5GB`` as bytes; a number alone is bytes too.

    Raises ValueError, with a text for the user, for anything else.
    """
    match = _SIZE.fullmatch(text)
    size = Decimal(match[1]) * _BYTES[match[2] or "B"] if match else Decimal("0.5")
    if size != size.to_integral_value():
        raise ValueError(f"must be a size such as 512B, 64KiB or 1MiB (got {quote(text)})")
    return int(size)


def parse_address(text: str, *, bind: bool = False) -> tuple[str, int]:
    """``127.0.0.1:80``, ``[::1]:80`` or ``db.internal:5432`` as a host and a port.

    With `bind`, the port may be 0 (any free one), and an empty host or ``*`` stands for all
    addresses of both families and is returned as ``""``. Host names come back in lower case,
    IPv6 addresses in their short form and without brackets.

    Raises ValueError, with a text for the user, for anything else.
    """
    if text.startswith("unix:"):
        raise ValueError(f"Unix sockets are not supported yet (got {quote(text)})")
    if "/" in text:
        raise ValueError(f"must be HOST:PORT, not a URL or a path (got {quote(text)})")
    host, _, port = text.rpartition(":")
    if ":" in host and not host.startswith("["):
        raise ValueError(
            f"must have an IPv6 address in brackets, as in [::1]:9090 (got {quote(text)})"
        )
    if not port or port.endswith("]") or ":" not in text:
        raise ValueError(f"must be HOST:PORT, but the port is missing (got {quote(text)})")
    return _parse_host(host, text, bind=bind), _parse_port(port, text, lowest=0 if bind else 1)


def format_address(host: str, port: int) -> str:
    """The text that `parse_address` reads as `host` and `port`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parse_port(port: str, text: str, *, lowest: int) -> int:
    if not _PORT.fullmatch(port) or not lowest <= int(port) <= 65535:
        raise ValueError(f"must have a port from {lowest} to 65535 (got {quote(text)})")
    return int(port)


def _parse_host(host: str, text: str, *, bind: bool) -> str:
    if host.startswith("["):
        return _parse_ipv6(host, text)
    if bind and host in ("", "*"):
        return ""
    if not host:
        raise ValueError(f"must have a host before the port (got {quote(text)})")
    if _IPV4_LIKE.fullmatch(host):
        return _parse_ipv4(host, text)
    if not _HOST_NAME.fullmatch(host):
        raise ValueError(
            f"must have a host name or an IP address before the port (got {quote(text)})"
        )
    return host.lower()


def _parse_ipv4(host: str, text: str) -> str:
    try:
        return str(IPv4Address(host))
    except ValueError:
        raise ValueError(f"must have a valid IPv4 address (got {quote(text)})") from None


def _parse_ipv6(host: str, text: str) -> str:
    wrong = f"must have a valid IPv6 address in the brackets (got {quote(text)})"
    if not host.endswith("]") or not _IPV6_LIKE.fullmatch(host[1:-1]):
        raise ValueError(wrong)
    try:
        return str(IPv6Address(host[1:-1]))
    except ValueError:
        raise ValueError(wrong) from None

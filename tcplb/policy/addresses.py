"""Clients' addresses, as policy sees them."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address


@lru_cache(maxsize=4096)
def client_address(host: str) -> Address | None:
    """Return the address that `host` is; None if it is none.

    An IPv4 address that came through an IPv6 socket is the same client as over IPv4, and an IPv6
    zone (``%eth0``) is the server's own business.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=4096)
def client_key(host: str, prefix: int = 32, prefix_v6: int = 128) -> bytes:
    """Return the key for a client's address, or for the network of that many bits that it is in."""
    address = client_address(host)
    if address is None:
        return host.encode()
    bits = prefix if address.version == 4 else prefix_v6
    if bits == address.max_prefixlen:
        return str(address).encode()
    # Not `ip_network`: given a number, it takes a small IPv6 address (::1) for an IPv4 one.
    network = IPv4Network if address.version == 4 else IPv6Network
    return str(network((int(address), bits), strict=False)).encode()


def destination_key(host: str, port: int) -> bytes:
    """Return the key for an address of ours that a client has connected to."""
    return b"%b:%d" % (client_key(host), port)

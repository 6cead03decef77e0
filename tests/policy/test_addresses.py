"""Clients' addresses and the networks they are in."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.policy.addresses import client_address, client_key

Addresses = st.SearchStrategy[IPv4Address | IPv6Address]


def not_mapped(address: IPv4Address | IPv6Address) -> bool:
    return address.version == 4 or address.ipv4_mapped is None


V4: Addresses = st.ip_addresses(v=4)
PLAIN_V6: Addresses = (st.ip_addresses(v=6) | st.integers(0, 2**33).map(IPv6Address)).filter(
    not_mapped
)


@given(V4 | PLAIN_V6)
def test_address_is_read_and_whole_it_is_the_key(address: IPv4Address | IPv6Address) -> None:
    assert client_address(str(address)) == address
    assert client_key(str(address)) == str(address).encode()


@given(V4, st.integers(1, 32))
def test_mapped_address_is_that_client(address: IPv4Address, prefix: int) -> None:
    mapped = f"::ffff:{address}"
    assert client_address(mapped) == address
    assert client_key(mapped, prefix) == client_key(str(address), prefix)


@given(V4, st.integers(0, 31))
def test_key_of_an_ipv4_network(address: IPv4Address, prefix: int) -> None:
    expected = ip_network(f"{address}/{prefix}", strict=False)
    assert client_key(str(address), prefix) == str(expected).encode()


@given(PLAIN_V6, st.integers(0, 127))
def test_key_of_an_ipv6_network(address: IPv6Address, prefix: int) -> None:
    expected = ip_network(f"{address}/{prefix}", strict=False)
    assert client_key(str(address), prefix_v6=prefix) == str(expected).encode()


def test_small_ipv6_address_is_in_no_ipv4_network() -> None:
    assert client_key("::1", 32, 32) == b"::/32"


def test_zone_does_not_count() -> None:
    assert client_address("fe80::1%eth0") == ip_address("fe80::1")
    assert client_key("fe80::1%eth0") == b"fe80::1"


@pytest.mark.parametrize("host", ["", "localhost", "10.0.0", "/run/x.sock", "10.0.0.1:80"])
def test_what_is_no_address_is_its_own_key(host: str) -> None:
    assert client_address(host) is None
    assert client_key(host, 8, 8) == host.encode()

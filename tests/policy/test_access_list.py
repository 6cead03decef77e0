"""Access rules: `ipaddress` says what is in a network."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.policy.access_list import AccessList, AccessRule, parse_access_rule

Network = IPv4Network | IPv6Network


def access(*rules: str) -> AccessList:
    return AccessList([parse_access_rule(rule) for rule in rules])


def networks(version: int) -> st.SearchStrategy[Network]:
    """Networks of a few addresses or of many, so that clients are often in one."""
    bits = 32 if version == 4 else 128
    start = int(ip_address("10.0.0.0" if version == 4 else "2001:db8::"))
    addresses = st.integers(start, start + 15).map(IPv4Address if version == 4 else IPv6Address)
    prefixes = st.integers(bits - 5, bits) | st.just(0)
    return st.builds(
        lambda address, prefix: ip_network(f"{address}/{prefix}", strict=False), addresses, prefixes
    )


NETWORKS = networks(4) | networks(6)
HOSTS = st.integers(0, 15).map(lambda number: f"10.0.0.{number}") | st.integers(0, 15).map(
    lambda number: f"2001:db8::{number:x}"
)
RULES = st.lists(st.tuples(st.booleans(), NETWORKS | st.none()), max_size=6)


@given(RULES, HOSTS)
def test_first_match_wins_and_no_match_permits(
    rules: list[tuple[bool, Network | None]], host: str
) -> None:
    client = ip_address(host)
    expected = [
        allow
        for allow, network in rules
        if network is None or (network.version == client.version and client in network)
    ]
    listed = AccessList([AccessRule(allow, network) for allow, network in rules])
    assert listed.permits(host) == (expected[0] if expected else True)
    if client.version == 4:
        assert listed.permits(f"::ffff:{host}") == listed.permits(host)
    else:
        assert listed.permits(f"{host}%eth0") == listed.permits(host)


@given(st.booleans(), NETWORKS)
def test_rule_is_read_as_it_is_written(allow: bool, network: Network) -> None:
    rule = AccessRule(allow, network)
    assert parse_access_rule(str(rule)) == rule


@given(networks(4), HOSTS)
def test_mapped_network_is_the_ipv4_one(network: IPv4Network, host: str) -> None:
    mapped = f"::ffff:{network.network_address}/{network.prefixlen + 96}"
    assert parse_access_rule(f"deny {mapped}") == parse_access_rule(f"deny {network}")


def test_ipv4_clients_of_an_ipv6_socket_are_in_no_ipv6_network() -> None:
    assert access("deny ::/0").permits("::ffff:10.0.0.1")
    assert not access("deny ::/0").permits("::1")


def test_typical_lists() -> None:
    only_local = access("allow 127.0.0.0/8", "allow ::1", "deny all")
    assert [only_local.permits(host) for host in ("127.0.0.9", "::1", "::ffff:127.0.0.1")] == [
        True,
        True,
        True,
    ]
    assert [only_local.permits(host) for host in ("10.0.0.1", "::2")] == [False, False]
    all_but_one = access("deny 10.0.0.1")
    assert [all_but_one.permits(host) for host in ("10.0.0.1", "10.0.0.2")] == [False, True]


def test_says_which_rule_decides() -> None:
    rules = access("allow 10.0.0.0/8", "deny all")
    assert str(rules.deciding("10.1.1.1")) == "allow 10.0.0.0/8"
    assert str(rules.deciding("11.1.1.1")) == "deny all"
    assert access("deny 10.0.0.0/8").deciding("::1") is None


@pytest.mark.parametrize("host", ["", "/run/x.sock", "localhost"])
def test_who_has_no_address_is_met_by_all_only(host: str) -> None:
    assert access("deny 0.0.0.0/0", "deny ::/0").permits(host)
    assert not access("allow 0.0.0.0/0", "deny all").permits(host)


def test_empty_list() -> None:
    assert AccessList(()).permits("10.0.0.1")
    assert not AccessList(())  # so that nobody need ask it
    assert len(access("deny all", "allow all")) == 2


@pytest.mark.parametrize("text", ["deny 10.0.0.0/8", "  deny   10.0.0.0/8 ", "deny\t10.0.0.0/8"])
def test_blanks_do_not_matter(text: str) -> None:
    assert str(parse_access_rule(text)) == "deny 10.0.0.0/8"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", 'must be "allow" or "deny"'),
        ("deny", 'must be "allow" or "deny"'),
        ("reject all", 'must be "allow" or "deny"'),
        ("Deny all", 'must be "allow" or "deny"'),
        ("deny everybody", "must have a network such as 10.0.0.0/8"),
        ("deny 10.0.0.1/8", "has host bits set"),
        ("deny 10.0.0.0/33", "must have a network"),
        ("deny 10.0.0.0/8 10.1.0.0/16", "must have a network"),
        ("deny fe80::%eth0/64", "without a zone"),
    ],
)
def test_what_is_no_rule_is_told_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_access_rule(text)

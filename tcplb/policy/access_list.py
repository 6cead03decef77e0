"""Which clients may connect: rules of networks, the first that matches decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from tcplb.policy.addresses import Address, client_address

ALL = "all"


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Allows or denies the clients of one network."""

    allow: bool
    network: IPv4Network | IPv6Network | None
    """None stands for all clients."""

    def matches(self, client: Address | None) -> bool:
        """Whether the rule is about `client`; one that has no address is met by "all" only."""
        network = self.network
        if network is None or client is None:
            return network is None
        return network.version == client.version and client in network

    def __str__(self) -> str:
        return f"{'allow' if self.allow else 'deny'} {self.network or ALL}"


def parse_access_rule(text: str) -> AccessRule:
    """Return the rule that is written ``allow 10.0.0.0/8``, ``deny ::1`` or ``deny all``.

    Raises ValueError, with a reason, for anything else; also for a network with host bits set,
    because it is unclear which of the two is the mistake.
    """
    verb, network = (*text.split(maxsplit=1), "", "")[:2]
    if verb not in ("allow", "deny") or not network:
        raise ValueError('must be "allow" or "deny" and then a network, an address or "all"')
    network = network.strip()
    if network == ALL:
        return AccessRule(verb == "allow", None)
    if "%" in network:
        raise ValueError("must have a network without a zone: the zone of a client does not count")
    try:
        return AccessRule(verb == "allow", unmapped(ip_network(network)))
    except ValueError as error:
        raise ValueError(f"must have a network such as 10.0.0.0/8 ({error})") from error


def unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return the IPv4 network that an IPv4-mapped one (::ffff:10.0.0.0/104) stands for."""
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((int(mapped), network.prefixlen - 96))
    return network


class AccessList:
    """Rules in order. A client that none of them matches may connect, as in nginx."""

    def __init__(self, rules: Sequence[AccessRule]) -> None:
        self._rules = tuple(rules)

    def __len__(self) -> int:
        """Return the number of rules."""
        return len(self._rules)

    def deciding(self, host: str) -> AccessRule | None:
        """Return the first rule that matches the client at `host`; O(rules)."""
        client = client_address(host)
        return next((rule for rule in self._rules if rule.matches(client)), None)

    def permits(self, host: str) -> bool:
        """Whether the client at `host` may connect. IPv4-mapped IPv6 counts as IPv4."""
        if not self._rules:
            return True
        rule = self.deciding(host)
        return rule is None or rule.allow

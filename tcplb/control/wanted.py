"""Which sessions and ended connections somebody wants, as functions that are quick to ask."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

from tcplb.control.inquiries import TapFilter
from tcplb.dataplane.record import Record
from tcplb.policy.access_list import unmapped
from tcplb.policy.addresses import client_address

ANY = "?"
"""Any letter of a termination code."""


def of_client(client: str | None) -> Callable[[str], bool]:
    """Return whether a client's host is in `client`, an address or a network; None is any.

    Raises ValueError if `client` is neither.
    """
    if client is None:
        return lambda _: True
    network = unmapped(ip_network(client, strict=False))
    version, mask = network.version, int(network.netmask)
    prefix = int(network.network_address)

    def is_within(host: str) -> bool:
        address = client_address(host)
        return address is not None and address.version == version and int(address) & mask == prefix

    return is_within


def of_tap(wanted: TapFilter) -> Callable[[Record], bool]:
    """Return whether `wanted` means a connection that has ended. Raises ValueError."""
    is_of_client = of_client(wanted.client)

    def matches(record: Record) -> bool:
        return (
            wanted.listener in (None, record.listener)
            and wanted.pool in (None, record.pool)
            and wanted.backend in (None, record.backend)
            and is_termination(wanted.termination, record.termination.code)
            and is_of_client(record.client_host)
        )

    return matches


def is_termination(pattern: str | None, code: str) -> bool:
    """Whether a termination code is one of `pattern`, where ``?`` is any letter."""
    if pattern is None:
        return True
    return len(pattern) == len(code) and all(
        letter in (ANY, of_code) for letter, of_code in zip(pattern, code, strict=True)
    )

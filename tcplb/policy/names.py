"""The names that a user may write for strategies and hash keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class StrategyName(StrEnum):
    """How a pool orders its backends for a new connection."""

    ROUND_ROBIN = "round-robin"
    LEAST_CONNECTIONS = "least-connections"
    RANDOM = "random"
    POWER_OF_TWO = "power-of-two"
    HASH = "hash"
    MAGLEV = "maglev"
    RENDEZVOUS = "rendezvous"
    PEAK_EWMA = "peak-ewma"
    FIRST = "first"


_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def names_function(strategy: str) -> bool:
    """Whether `strategy` is ``module:function``, a strategy of the user's own."""
    return _FUNCTION.fullmatch(strategy) is not None


class HashKey(StrEnum):
    """What a keyed strategy places.

    `client` is the client's address without its port. `request` is the target of the HTTP request
    line. `auto` is `request` where the first bytes are HTTP and come soon, else `client`.
    `first-line` is the first line whatever the protocol, and `destination` the address and port
    that the client has connected to.
    """

    AUTO = "auto"
    CLIENT = "client"
    REQUEST = "request"
    FIRST_LINE = "first-line"
    DESTINATION = "destination"


@dataclass(frozen=True, slots=True)
class KeyRule:
    """A hash key, and how much of a client's address counts where that is the key."""

    key: HashKey = HashKey.AUTO
    prefix: int = 32
    """Leading bits of an IPv4 address, 1 to 32."""
    prefix_v6: int = 128
    """Leading bits of an IPv6 address, 1 to 128."""

    def __str__(self) -> str:
        lengths = []
        if self.prefix < 32:
            lengths.append(f"/{self.prefix}")
        if self.prefix_v6 < 128:
            lengths.append(f"/{self.prefix_v6}")
        return self.key + "".join(lengths)


_CLIENT_PREFIXES = re.compile(r"client((?:/[0-9]{1,3}){1,2})", re.ASCII)


def parse_key_rule(text: str) -> KeyRule:
    """Return the rule that a user writes as a `HashKey`, or as ``client/24``.

    After ``client``, a length of up to 32 is for IPv4 addresses and a longer one for IPv6;
    ``client/24/56`` has both. Raises ValueError for anything else.
    """
    match = _CLIENT_PREFIXES.fullmatch(text)
    if match is None:
        return KeyRule(HashKey(text))
    lengths = [int(length) for length in match[1].split("/")[1:]]
    short = [length for length in lengths if 1 <= length <= 32]
    long = [length for length in lengths if 33 <= length <= 128]
    if lengths not in (short, long, short + long) or len(short) > 1 or len(long) > 1:
        raise ValueError(f"not a prefix of an address: {text}")
    return KeyRule(HashKey.CLIENT, *(short or [32]), *(long or [128]))

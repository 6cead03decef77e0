"""The names that a user may write for strategies and hash keys."""

from __future__ import annotations

from enum import StrEnum


class StrategyName(StrEnum):
    """How a pool orders its backends for a new connection."""

    ROUND_ROBIN = "round-robin"
    HASH = "hash"
    LEAST_CONNECTIONS = "least-connections"


class HashKey(StrEnum):
    """What `hash` places on the ring.

    `client` is the client's address without its port. `request` is the target of the HTTP request
    line. `auto` is `request` where the first bytes are HTTP and come soon, else `client`.
    """

    AUTO = "auto"
    CLIENT = "client"
    REQUEST = "request"

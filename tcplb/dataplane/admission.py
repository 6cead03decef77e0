"""Who may connect to a listener, and how many of them: decided before there is a session."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from tcplb.dataplane.gate import Seats
from tcplb.dataplane.termination import Termination
from tcplb.policy.access_list import AccessList
from tcplb.policy.rate import ClientRates, Rate


class RateLimiter(Protocol):
    """Tokens for new connections: `policy.rate.TokenBucket`, or one that processes share."""

    rate: Rate

    def try_take(self, now: float) -> bool:
        """Take a token, if there is one."""

    def ready_in(self, now: float) -> float:
        """Return the seconds until there is a token; 0.0 if there is one."""

    def give_back(self) -> None:
        """Give back a token that was taken just now and not used."""


@dataclass(slots=True)
class Admission:
    """The limits of one listener. By default there are none."""

    access: AccessList = field(default_factory=lambda: AccessList(()))
    client_rates: ClientRates | None = None
    """How fast each client may connect; faster ones are refused."""
    max_connections: int = 0
    """0 for no limit. Beyond it nobody is refused: accepting pauses."""
    seats: Seats | None = None
    """The places of `max_connections`, if processes share them."""
    rate: RateLimiter | None = None
    """How fast connections are accepted; it makes clients wait and refuses nobody."""
    selective: bool = field(init=False)
    """Whether there is anything that a client can be refused for."""

    def __post_init__(self) -> None:
        """Find out once what is asked for every connection."""
        self.selective = bool(self.access) or self.client_rates is not None

    def refusal(self, host: str, now: float) -> Termination | None:
        """Return why the client at `host` is refused; None if it is welcome.

        The rules come first, so that clients they deny have no part in the rates and no room in
        the table. A client that is welcome has used one of its tokens.
        """
        if not self.access.permits(host):
            return Termination.DENIED
        if self.client_rates is not None and not self.client_rates.try_take(host, now):
            return Termination.TOO_FAST
        return None

"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Settings:
    """The defaults are those of a full run."""

    rounds: int = 5
    seconds: float = 1.0
    """Time that counts in each slice."""
    lead_in: float = 0.2
    """Time before it in which the same load runs."""
    warm_up: bool = True
    """Do one slice a candidate that does not count."""
    connections: int = 64
    """For connects and requests."""
    bulk_flows: int = 4
    pairs: int = 4000
    picks: int = 20_000
    """Choices a round."""
    pool_size: int = 1000
    """Backends to choose from."""
    max_connections: int = 5000
    """What the balancers are told that they have to bear."""

    descriptors: int = 20_000
    """The limit of open files."""

    def within(self, descriptors: int) -> Settings:
        """Return settings that a limit of so many open files allows.

        A connection takes two of a balancer's, and HAProxy wants to have some for pipes too.
        """
        most = min(self.max_connections, descriptors // 4)
        pairs = min(self.pairs, most - 10)
        return replace(self, max_connections=most, pairs=pairs, descriptors=descriptors)


def smoke() -> Settings:
    """Return the settings that only show that everything works."""
    return Settings(
        rounds=1,
        seconds=0.05,
        lead_in=0.02,
        warm_up=False,
        connections=4,
        pairs=20,
        picks=50,
        pool_size=20,
        max_connections=200,
    )

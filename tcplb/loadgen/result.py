"""What a run has measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tcplb.loadgen.job import Job
from tcplb.loadgen.tally import Tally


@dataclass(frozen=True, slots=True)
class Second:
    """One second of a run; the warm-up's seconds are negative, and are in no total.

    It keeps figures, not the tally they are from: a run may take a day, and histograms are large.
    """

    number: int
    requests: int
    errors: int
    connections: int
    """Those that were opened."""
    open: int
    """The most connections that were open at any tick."""
    p50: float | None
    """Of latency, in nanoseconds, as `p99`; None without any."""
    p99: float | None
    backends: Mapping[str, int]
    """Requests by name."""

    @staticmethod
    def of(number: int, tally: Tally) -> Second:
        """Return the figures of what was tallied in a second."""
        return Second(
            number,
            tally.requests,
            tally.errors,
            tally.connections,
            tally.open,
            tally.latency.percentile(50),
            tally.latency.percentile(99),
            {name: served.requests for name, served in sorted(tally.backends.items())},
        )


@dataclass(frozen=True, slots=True)
class ChaosEvent:
    """Something that happened to a backend during the run."""

    at: float
    """Seconds since counting began."""
    kind: str
    """``killed`` and ``restarted`` by us; ``ejected`` and ``returned`` by the balancer."""
    backend: str
    text: str
    """The event in words, with the balancer's reason if it gave one."""


@dataclass(frozen=True, slots=True)
class Outage:
    """One backend from its kill to its return. A time is None if it did not come to that."""

    backend: str
    killed_at: float
    """Seconds since counting began, as `restarted_at`."""
    restarted_at: float | None
    seconds_to_eject: float | None
    """From the kill to the ejection."""
    seconds_to_return: float | None
    """From the restart (when it listens again) to the first connection that it is given."""
    errors: int
    """Failures that clients saw from the kill to the return."""
    retries: int
    """Connects that the balancer tried again elsewhere in that time, unseen by clients."""


@dataclass(frozen=True, slots=True)
class Chaos:
    """What was done to the backends, and what came of it."""

    events: Sequence[ChaosEvent]
    outages: Sequence[Outage]
    retries: Mapping[int, int]
    """Connects that the balancer tried again elsewhere, by the number of the second."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """A run that is over, or was interrupted."""

    job: Job
    processes: int
    started_at: float
    """Seconds since the epoch, when counting began."""
    seconds: float
    """How long was counted."""
    total: Tally
    timeline: Sequence[Second]
    """Second by second; the last one may be shorter."""
    backends: Sequence[str] = ()
    """Names of those that are known to exist, and may have got nothing."""
    interrupted: bool = False
    chaos: Chaos | None = None
    name: str = ""
    """What the run is called in a comparison or a set of scenarios."""

"""What was measured in some span of time, by one process or by all: tallies add up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tcplb.loadgen.histogram import Histogram


@dataclass(slots=True)
class Served:
    """What one backend has done, as far as clients were told its name."""

    requests: int = 0
    connections: int = 0


@dataclass(slots=True)
class Tally:
    """Counts and times. All add up over time and over processes, but for `open`, a level."""

    requests: int = 0
    """Exchanges that ended with a good answer (in `connect-only`, connections)."""
    connections: int = 0
    """Connections that were opened."""
    open: int = 0
    """Connections open: of a tick, at its end; of a second and of a run, the most at any tick."""
    bytes_sent: int = 0
    bytes_received: int = 0
    latency: Histogram = field(default_factory=Histogram)
    """From when a request was due until the last byte of its answer; only of good answers."""
    connect: Histogram = field(default_factory=Histogram)
    """For connecting."""
    first_byte: Histogram = field(default_factory=Histogram)
    """From sending a request until the first byte of its answer."""
    failures: Counter[str] = field(default_factory=Counter)
    """By cause, in words."""
    statuses: Counter[int] = field(default_factory=Counter)
    """Of HTTP answers."""
    backends: dict[str, Served] = field(default_factory=dict)
    """By name, of the backends that named themselves."""
    keys: int = 0
    """Distinct keys (paths, or else source addresses) that met a backend for the first time."""
    keys_moved: int = 0
    """Distinct keys that met another backend than before, for the first time."""
    moves: int = 0
    """Times that a key met another backend than before."""

    @property
    def errors(self) -> int:
        """Failures of all causes."""
        return sum(self.failures.values())

    def served(self, name: str) -> Served:
        """Return the count of a backend, which begins at 0."""
        return self.backends.setdefault(name, Served())

    def clear(self) -> None:
        """Begin anew, but for `open`. What `served` has returned stays what is counted."""
        for name in _SUMS:
            if name != "open":
                setattr(self, name, 0)
        for name in _HISTOGRAMS:
            getattr(self, name).clear()
        self.failures.clear()
        self.statuses.clear()
        for served in self.backends.values():
            served.requests = served.connections = 0

    def merge(self, other: Tally) -> None:
        """Add what `other` has; `open` too, so of each process merge the last level only."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _HISTOGRAMS:
            getattr(self, name).merge(getattr(other, name))
        self.failures.update(other.failures)
        self.statuses.update(other.statuses)
        for backend, served in other.backends.items():
            mine = self.served(backend)
            mine.requests += served.requests
            mine.connections += served.connections

    def to_json(self) -> dict[str, Any]:
        """Return this as JSON's types, for another process."""
        return {
            **{name: getattr(self, name) for name in _SUMS},
            **{name: getattr(self, name).to_json() for name in _HISTOGRAMS},
            "failures": dict(self.failures),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "backends": {
                name: [served.requests, served.connections]
                for name, served in self.backends.items()
                if served.requests or served.connections
            },
        }

    @staticmethod
    def from_json(written: dict[str, Any]) -> Tally:
        """Return the tally that `to_json` wrote."""
        return Tally(
            **{name: written[name] for name in _SUMS},
            latency=Histogram.from_json(written["latency"]),
            connect=Histogram.from_json(written["connect"]),
            first_byte=Histogram.from_json(written["first_byte"]),
            failures=Counter(written["failures"]),
            statuses=Counter({int(key): count for key, count in written["statuses"].items()}),
            backends={name: Served(*counts) for name, counts in written["backends"].items()},
        )


_SUMS = (
    "requests",
    "connections",
    "open",
    "bytes_sent",
    "bytes_received",
    "keys",
    "keys_moved",
    "moves",
)
_HISTOGRAMS = ("latency", "connect", "first_byte")

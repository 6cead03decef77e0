"""What a run is asked to do, and how it is shared out over processes; travels as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum


class Mode(StrEnum):
    """What clients do."""

    ECHO = "echo"
    REQUEST = "request"
    CONNECT = "connect"
    CONNECT_ONLY = "connect-only"
    BULK = "bulk"
    IDLE = "idle"
    CHURN = "churn"

    @property
    def keeps_connections(self) -> bool:
        """Whether a client stays on its connection, and so with one path and one backend."""
        return self in (Mode.ECHO, Mode.REQUEST, Mode.BULK, Mode.IDLE)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the load goes. `text` is what the user wrote."""

    text: str
    address: str
    """An IP address."""
    port: int
    path: str | None = None
    """The path (with any query) of an HTTP target; None for raw TCP."""
    host: str = ""
    """What the Host header says."""

    @property
    def http(self) -> bool:
        """Whether it speaks HTTP/1.1."""
        return self.path is not None


@dataclass(frozen=True, slots=True)
class Job:
    """One run, or the share of it that one process has."""

    target: Target
    mode: Mode
    connections: int = 64
    """Clients, each with a connection at a time."""
    rate: float | None = None
    """Requests per second of an open loop; None for a closed one."""
    burst: int = 1
    """Requests of an open loop that are due at the same moment."""
    ramp: float = 0.0
    """Seconds in which the connections (closed) or the rate (open) grow to the whole."""
    duration: float = 10.0
    """Seconds that count. The warm-up comes before them."""
    count: int | None = None
    """Requests after which the run is over, if the time is not over before."""
    warmup: float = 0.0
    """Seconds at the beginning that do not count."""
    payload: int = 64
    """Bytes of a payload."""
    paths: int = 1
    """Distinct request targets, one for each connection."""
    sources: int = 1
    """Source addresses."""
    timeout: float = 5.0
    """Seconds for a connect, and for an answer."""
    backend_header: str = "X-Backend"
    """The header in which a backend names itself."""
    seed: int = 0
    """Of all that is random."""
    share: int = 0
    """The number of this process, from 0."""
    shares: int = 1
    """Processes."""

    @property
    def sends_payloads(self) -> bool:
        """Whether `payload` matters: most of HTTP are GETs."""
        if self.mode in (Mode.ECHO, Mode.BULK):
            return self.payload > 0
        return not self.target.http and self.mode is not Mode.CONNECT_ONLY

    def split(self, processes: int) -> list[Job]:
        """Share the run out over `processes` (at least 1), or over as many as have something to do.

        Each gets a connection, and a request if they are counted. Bursts are shared out too, two
        requests or more to a process, and come equally often in all, so they can stay together.
        """
        shares = self._shares(processes)
        return [
            replace(
                self,
                connections=_part(self.connections, share, shares),
                rate=self._rate(share, shares),
                burst=self._burst(share, shares),
                count=None if self.count is None else _part(self.count, share, shares),
                share=share,
                shares=shares,
            )
            for share in range(shares)
        ]

    @property
    def _bursts(self) -> bool:
        return self.rate is not None and self.burst > 1

    def _shares(self, processes: int) -> int:
        most = [processes, self.connections]
        if self.count is not None:
            most.append(self.count)
        if self._bursts:
            most.append(self.burst // 2)
        return max(min(most), 1)

    def _burst(self, share: int, shares: int) -> int:
        return _part(self.burst, share, shares) if self._bursts else self.burst

    def _rate(self, share: int, shares: int) -> float | None:
        if self.rate is None:
            return None
        if not self._bursts:
            return self.rate / shares
        # In proportion to the burst: the time between two bursts is burst / rate, everywhere.
        return self.rate * (self._burst(share, shares) / self.burst)

    def to_json(self) -> str:
        """Return this on one line."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Job:
        """Return the job that `to_json` wrote."""
        fields = json.loads(text)
        target = Target(**fields.pop("target"))
        return Job(target=target, mode=Mode(fields.pop("mode")), **fields)


def _part(whole: int, share: int, shares: int) -> int:
    return whole // shares + (share < whole % shares)

"""What a load process is asked to do; it travels as JSON on the command line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

from bench.cores import Policy


class Kind(StrEnum):
    """The kinds of load."""

    CONNECTS = "connects"
    REQUESTS = "requests"
    BULK = "bulk"
    OPEN_LOOP = "open-loop"
    IDLE_PAIRS = "idle-pairs"


@dataclass(frozen=True)
class Job:
    """One slice of work against the balancer on `port`, whose (root) process is `pid`."""

    kind: Kind
    port: int
    pid: int
    connections: int
    seconds: float = 1.0
    """Time that counts."""
    lead_in: float = 0.2
    """Time before it, in which the same load runs and nothing counts."""
    rate: float = 0.0
    """Requests per second that are sent whatever happens; only for the open loop."""
    policy: Policy = Policy.BATCH

    def to_json(self) -> str:
        """Return this job for a command line."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Job:
        """Return the job that `to_json` wrote."""
        fields = json.loads(text)
        return Job(**fields | {"kind": Kind(fields["kind"]), "policy": Policy(fields["policy"])})

"""`python -m bench.load JOB`: do one slice of work and print what it cost, as JSON."""

from __future__ import annotations

import contextlib
import gc
import json
import signal
import sys
import time

from bench.accounting import cpu_seconds, memory_bytes
from bench.cores import Policy
from bench.load.bulk import Bulk
from bench.load.client import LoadError
from bench.load.closed_loop import Connects, Requests
from bench.load.idle_pairs import IdlePairs
from bench.load.job import Job, Kind
from bench.load.open_loop import OpenLoop
from bench.stats import percentile

BEGUN = "begun"
"""Printed on a line of its own when the lead-in is over."""

Loop = Connects | Requests | Bulk | OpenLoop


def _loop(job: Job) -> Loop:
    match job.kind:
        case Kind.CONNECTS:
            return Connects(job.port, job.connections)
        case Kind.REQUESTS:
            return Requests(job.port, job.connections)
        case Kind.BULK:
            return Bulk(job.port, job.connections, gives_way=job.policy is Policy.IDLE)
        case Kind.OPEN_LOOP:
            return OpenLoop(job.port, job.connections, job.rate)
        case Kind.IDLE_PAIRS:
            raise ValueError("idle pairs do not loop")


def _run_loop(job: Job) -> dict[str, float]:
    loop = _loop(job)
    loop.run(job.lead_in)
    loop.reset()
    began, cpu = time.monotonic(), cpu_seconds(job.pid)
    with contextlib.suppress(KeyboardInterrupt):  # SIGINT ends the counting early
        print(BEGUN, flush=True)
        loop.run(job.seconds)
    cpu, seconds = cpu_seconds(job.pid) - cpu, time.monotonic() - began
    result = {"units": loop.units, "seconds": seconds, "cpu": cpu}
    if isinstance(loop, OpenLoop):
        loop.count_overdue()
    loop.close()
    return result | _latencies(sorted(loop.latencies))


def _latencies(ordered: list[int]) -> dict[str, float]:
    """Return percentiles in milliseconds of ordered nanoseconds."""
    if not ordered:
        return {}
    return {
        name: percentile(ordered, percent) / 1e6
        for name, percent in (("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9))
    }


def _hold_idle_pairs(job: Job) -> dict[str, float]:
    pairs = IdlePairs(job.port)
    before = memory_bytes(job.pid)
    pairs.open(job.connections)
    after = memory_bytes(job.pid)
    pairs.close()
    return {"units": job.connections, "bytes": after - before}


def main(text: str) -> None:
    """Do the job that `text` describes in JSON."""
    job = Job.from_json(text)
    job.policy.apply()
    gc.disable()  # the loops make no cycles
    # A shell may have started all of this with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    result = _hold_idle_pairs(job) if job.kind is Kind.IDLE_PAIRS else _run_loop(job)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (LoadError, OSError) as error:
        sys.exit(f"{error}")

"""The scenarios: what is done in one slice, and which figures it gives."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench import cores
from bench.candidates import program
from bench.cores import PROMPT, Policy
from bench.load.client import LoadError
from bench.load.job import Job, Kind
from bench.processes import PATIENCE, started
from bench.results import Measure
from bench.running import Balancer, do, load
from bench.settings import Settings

BESIDE_BULK_RATE = 1000.0
"""Small requests per second beside bulk. An open loop: a balancer that answers late gets no fewer
of them. And few: they are to wait for the bulk flows, not for each other."""
BESIDE_BULK_CONNECTIONS = 8

LONG = 60.0
"""Seconds, for a load that is stopped when it has done its part."""

WRK_AT_LEAST = 0.3
"""Seconds that wrk needs to count anything."""


@dataclass(frozen=True)
class Slice:
    """What a scenario needs to know for one slice."""

    balancer: Balancer
    settings: Settings
    half_rate: float
    """Half of HAProxy's own highest rate, in requests per second; 0 where it is not needed."""

    def job(self, kind: Kind, connections: int, **more: Any) -> Job:
        """Return a job against this balancer."""
        return Job(
            kind,
            self.balancer.port,
            self.balancer.pid,
            connections,
            **{"seconds": self.settings.seconds, "lead_in": self.settings.lead_in} | more,
        )


def connect(of: Slice) -> dict[str, float]:
    """Connections with one request each."""
    done = do(of.job(Kind.CONNECTS, of.settings.connections))
    return {"cpu": done["cpu"] / done["units"] * 1e6, "rate": done["units"] / done["seconds"]}


def request(of: Slice) -> dict[str, float]:
    """Requests on kept connections."""
    done = do(of.job(Kind.REQUESTS, of.settings.connections))
    return {
        "cpu": done["cpu"] / done["units"] * 1e6,
        "rate": done["units"] / done["seconds"],
        **_percentiles(done),
    }


def bulk(of: Slice) -> dict[str, float]:
    """Downloads side by side."""
    done = do(of.job(Kind.BULK, of.settings.bulk_flows))
    gigabytes = done["units"] / 1e9
    return {"cpu": done["cpu"] / gigabytes * 1e3, "rate": gigabytes / done["seconds"]}


def idle(of: Slice) -> dict[str, float]:
    """Memory of pairs that do nothing."""
    allowed = (of.settings.descriptors - 100) // of.balancer.candidate.descriptors
    done = do(of.job(Kind.IDLE_PAIRS, min(of.settings.pairs, allowed)))
    return {"memory": done["bytes"] / done["units"] / 1e3}


def latency(of: Slice) -> dict[str, float]:
    """Requests at half of HAProxy's highest rate."""
    connections = of.settings.connections
    done = do(of.job(Kind.OPEN_LOOP, connections, rate=of.half_rate, policy=Policy.NORMAL))
    return {"rate": done["units"] / done["seconds"], **_percentiles(done)}


def beside_bulk(of: Slice) -> dict[str, float]:
    """A few requests while bulk flows run at full speed."""
    small = of.job(Kind.OPEN_LOOP, BESIDE_BULK_CONNECTIONS, rate=BESIDE_BULK_RATE, policy=PROMPT)
    # The flows give way to the requests on the load's core: the waiting is to be the balancer's.
    flows = of.job(Kind.BULK, of.settings.bulk_flows, seconds=LONG, policy=Policy.IDLE)
    with load(flows) as running:
        running.wait_begun()
        done = do(small)
        running.stop()
        moved = running.result()
    return {"bulk": moved["units"] / 1e9 / moved["seconds"], **_percentiles(done)}


def workers(of: Slice) -> dict[str, float]:
    """Connections and requests, for balancers that are not pinned."""
    connects, requests = connect(of), request(of)
    return {
        "connect_cpu": connects["cpu"],
        "connect_rate": connects["rate"],
        "request_cpu": requests["cpu"],
        "request_rate": requests["rate"],
    }


def wrk(of: Slice) -> dict[str, float]:
    """The rate of requests that wrk finds. Raises SkippedError if it is not installed."""
    url = f"http://127.0.0.1:{of.balancer.port}/"
    # It takes whole seconds, but ends in order on SIGINT.
    command = [program("wrk"), "-t1", f"-c{of.settings.connections}", f"-d{LONG:.0f}s", url]
    with (
        cores.started_on(cores.LOAD),
        started(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process,
    ):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(of.settings.seconds, WRK_AT_LEAST))
        process.send_signal(signal.SIGINT)
        printed = process.communicate(timeout=PATIENCE)[0].decode()
    found = re.search(r"Requests/sec:\s*([\d.]+)", printed)
    if found is None or "Socket errors" in printed:
        raise LoadError(f"wrk: {printed.strip()[-200:]}")
    return {"rate": float(found[1])}


def _percentiles(done: dict[str, float]) -> dict[str, float]:
    return {key: done[key] for key in ("p50", "p99", "p99.9") if key in done}


@dataclass(frozen=True)
class Scenario:
    """One table of the report."""

    name: str
    title: str
    measures: tuple[Measure, ...]
    slice: Callable[[Slice], dict[str, float]]
    fresh: bool = False
    """Every slice needs a process that has not done any work yet."""
    most_rounds: int = 1_000_000
    policy: Policy = Policy.BATCH
    """Of the backends. They answer at once where latency counts and CPU time does not."""
    needs_rate: bool = False
    """Its load depends on HAProxy's highest rate."""


_LATENCIES = (
    Measure("p50", "p50", "ms"),
    Measure("p99", "p99", "ms", compared=True),
    Measure("p99.9", "p99.9", "ms"),
)
_REQUEST_RATE = Measure("rate", "requests", "1/s")

SCENARIOS = (
    Scenario(
        "connect",
        "Connect, one small request, close (64 at a time)",
        (Measure("cpu", "CPU", "µs", compared=True), Measure("rate", "connections", "1/s")),
        connect,
    ),
    Scenario(
        "request",
        "Small requests on 64 kept connections, closed loop",
        (Measure("cpu", "CPU", "µs", compared=True), _REQUEST_RATE, *_LATENCIES),
        request,
    ),
    Scenario(
        "wrk",
        "The same, as wrk sees it (a cross-check of the rate; one round)",
        (_REQUEST_RATE,),
        wrk,
        most_rounds=1,
    ),
    Scenario(
        "bulk",
        "Bulk: 4 downloads at once",
        (Measure("cpu", "CPU", "ms/GB", compared=True), Measure("rate", "moved", "GB/s")),
        bulk,
    ),
    Scenario(
        "idle",
        "Memory per idle pair",
        (Measure("memory", "memory", "kB", compared=True),),
        idle,
        fresh=True,
        most_rounds=3,  # each starts every candidate anew, and memory hardly varies
    ),
    Scenario(
        "latency",
        "Small requests at 50 % of HAProxy's highest rate, open loop, 64 connections",
        (_REQUEST_RATE, *_LATENCIES),
        latency,
        policy=Policy.NORMAL,
        needs_rate=True,
    ),
    Scenario(
        "beside-bulk",
        "Small requests (1,000/s on 8 connections, open loop) beside 4 downloads at full speed",
        (*_LATENCIES, Measure("bulk", "bulk", "GB/s")),
        beside_bulk,
        policy=PROMPT,
    ),
)
"""Those that compare candidates, each pinned to one core."""

WORKERS = Scenario(
    "workers",
    "1 and 2 workers, not pinned",
    (
        Measure("connect_cpu", "CPU per connection", "µs"),
        Measure("connect_rate", "connections", "1/s"),
        Measure("request_cpu", "CPU per request", "µs"),
        Measure("request_rate", "requests", "1/s"),
    ),
    workers,
)

PICK = Scenario(
    "pick",
    "A choice with 1,000 backends: acquire and release, in process",
    (
        Measure("order", "the strategy's pick", "µs"),
        Measure("time", "with the pool: acquire and release", "µs"),
    ),
    lambda _: {},
)

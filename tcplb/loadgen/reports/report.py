"""A run as JSON's types: the one source of all other forms (docs/bench-report.schema.json).

Times are rounded to 4 significant digits, rates to 6: the histogram is not more exact, and no
machine repeats more of them. Nothing in it is ever NaN or infinite: what cannot be said is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from tcplb.loadgen.histogram import RELATIVE_ERROR, Histogram
from tcplb.loadgen.job import Job
from tcplb.loadgen.reports.figures import significant
from tcplb.loadgen.reports.spread import complete, imbalance
from tcplb.loadgen.result import Chaos, RunResult, Second
from tcplb.loadgen.tally import Tally

Report = dict[str, Any]
"""What `to_report` returns."""

FORMAT = 1
"""Goes up when a field changes its meaning or goes away, not when one is added."""

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9}
_SECOND, _MILLISECOND = 1e9, 1e6
"""Nanoseconds."""
_DECADES = 6
"""The distribution goes to 1 - 10^-6 at most, and then to the largest value."""


def to_report(result: RunResult) -> Report:
    """Return the report of one run."""
    total, seconds = result.total, result.seconds
    tried = total.requests + total.errors
    return {
        "format": FORMAT,
        **({"name": result.name} if result.name else {}),
        "target": result.job.target.text,
        "mode": str(result.job.mode),
        "load": _load(result.job, result.processes),
        "started_at": _moment(result.started_at),
        "seconds": round(seconds, 3),
        "interrupted": result.interrupted,
        "requests": total.requests,
        "requests_per_second": rate(total.requests, seconds),
        "connections": total.connections,
        "connections_per_second": rate(total.connections, seconds),
        "bytes": {
            "sent": total.bytes_sent,
            "received": total.bytes_received,
            "sent_per_second": rate(total.bytes_sent, seconds),
            "received_per_second": rate(total.bytes_received, seconds),
        },
        "latency_ms": _times(total.latency),
        "connect_ms": _times(total.connect),
        "first_byte_ms": _times(total.first_byte),
        "latency_relative_error": RELATIVE_ERROR,
        "latency_distribution": _distribution(total.latency),
        "errors": total.errors,
        "error_rate": significant(total.errors / tried, 4) if tried else None,
        "failures": _failures(total),
        "statuses": {str(status): count for status, count in sorted(total.statuses.items())},
        **_spread(result),
        "keys": _keys(result),
        "timeline": [_second(second, result.chaos) for second in result.timeline],
        **({"chaos": _chaos(result.chaos)} if result.chaos else {}),
    }


def to_reports(results: Iterable[RunResult]) -> Report:
    """Return the report of a set of runs."""
    return {"format": FORMAT, "reports": [to_report(result) for result in results]}


def rate(count: int, seconds: float) -> float:
    """Return how many there were in a second; 0 if no time was counted (not a nanosecond)."""
    return significant(count / seconds, 6) if seconds >= 1 / _SECOND else 0.0


def percentile_ms(times: Histogram, percent: float) -> float | None:
    """Return a percentile (0 to 100) in milliseconds; None without values."""
    return _ms(times.percentile(percent))


def _load(job: Job, processes: int) -> Report:
    return {
        "kind": "closed" if job.rate is None else "open",
        "connections": job.connections,
        "rate": job.rate,
        "burst": job.burst,
        "ramp_seconds": job.ramp,
        "warmup_seconds": job.warmup,
        "duration_seconds": job.duration,
        "count": job.count,
        "payload_bytes": job.payload if job.sends_payloads else 0,
        "paths": job.paths,
        "source_addresses": job.sources,
        "timeout_seconds": job.timeout,
        "processes": processes,
        "seed": job.seed,
    }


def _moment(epoch: float) -> str:
    moment = datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")


def _times(times: Histogram) -> Report | None:
    if not times.count:
        return None
    return {
        "count": times.count,
        "mean": _ms(times.mean),
        **{name: percentile_ms(times, percent) for name, percent in PERCENTILES.items()},
        "max": _ms(times.largest),
    }


def _ms(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else significant(nanoseconds / _MILLISECOND, 4)


def _distribution(times: Histogram) -> list[list[float]] | None:
    """Return [percentile, milliseconds], closer together towards 100; None without values."""
    if not times.count:
        return None
    points = [[percent, percentile_ms(times, percent)] for percent in _steps(times.count)]
    return [[percent, ms] for percent, ms in points if percent is not None and ms is not None]


def _steps(count: int) -> Iterator[float]:
    """Yield 0, 10, ... 80, 90, 91, ... 98, 99, 99.1, ... while a value is above it, and 100."""
    for decade in range(_DECADES):
        for nines in range(9):
            above = (10 - nines) * 10.0 ** -(decade + 1)
            if above * count < 1:
                break
            yield round(100 * (1 - above), decade)
    yield 100.0


def _failures(total: Tally) -> list[Report]:
    by_count = sorted(total.failures.items(), key=lambda failure: (-failure[1], failure[0]))
    return [{"cause": cause, "count": count} for cause, count in by_count]


def _spread(result: RunResult) -> Report:
    backends = complete(result.total.backends, result.backends)
    named = sum(served.requests for served in backends.values())
    uneven = imbalance(backends)
    return {
        "backends": [
            {
                "name": name,
                "requests": served.requests,
                "connections": served.connections,
                "share": significant(served.requests / named, 4) if named else 0.0,
            }
            for name, served in backends.items()
        ],
        "imbalance": None if uneven is None else significant(uneven, 4),
    }


def _keys(result: RunResult) -> Report | None:
    if result.job.paths == 1 and result.job.sources == 1:
        return None
    total = result.total
    return {"seen": total.keys, "moved": total.keys_moved, "moves": total.moves}


def _second(second: Second, chaos: Chaos | None) -> Report:
    return {
        "second": second.number,
        "requests": second.requests,
        "errors": second.errors,
        "open": second.open,
        "p50_ms": _ms(second.p50),
        "p99_ms": _ms(second.p99),
        "backends": dict(second.backends),
        **({"retries": chaos.retries.get(second.number, 0)} if chaos else {}),
    }


def _chaos(chaos: Chaos) -> Report:
    return {
        "events": [_rounded(asdict(event)) for event in chaos.events],
        "outages": [_rounded(asdict(outage)) for outage in chaos.outages],
    }


def _rounded(fields: Report) -> Report:
    """Round seconds to milliseconds, and leave all else."""
    return {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in fields.items()
    }

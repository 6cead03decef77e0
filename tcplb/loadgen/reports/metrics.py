"""Everything of a run that a gate may be put on, as one flat table in base units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

from tcplb.loadgen.histogram import Histogram
from tcplb.loadgen.reports import spread
from tcplb.loadgen.result import Chaos, Outage, RunResult
from tcplb.loadgen.tally import Tally

Metrics = Mapping[str, float | None]
"""By name; None was not measured."""


class Kind(Enum):
    """What a metric counts, and so the units that it may be written in."""

    TIME = "time"
    """Seconds."""
    COUNT = "count"
    RATE = "rate"
    """Of requests or connections, per second."""
    BYTES = "number of bytes"
    """Or bytes per second."""
    RATIO = "ratio"


PERCENTILES = {"p50": 50, "p90": 90, "p99": 99, "p99_9": 99.9, "max": 100}

_TIMES = {
    f"{prefix}{name}": Kind.TIME
    for prefix in ("", "connect_", "first_byte_")
    for name in (*PERCENTILES, "mean")
}

KINDS: Mapping[str, Kind] = {
    **_TIMES,
    "errors": Kind.COUNT,
    "error_rate": Kind.RATIO,
    "requests": Kind.COUNT,
    "requests_per_second": Kind.RATE,
    "connections": Kind.COUNT,
    "connections_per_second": Kind.RATE,
    "bytes_sent": Kind.BYTES,
    "bytes_received": Kind.BYTES,
    "bytes_sent_per_second": Kind.BYTES,
    "bytes_received_per_second": Kind.BYTES,
    "imbalance": Kind.RATIO,
    "keys": Kind.COUNT,
    "keys_moved": Kind.COUNT,
    "moves": Kind.COUNT,
    "retries": Kind.COUNT,
    "slowest_eject": Kind.TIME,
    "slowest_return": Kind.TIME,
}
"""All metrics there are."""


def metrics(result: RunResult) -> dict[str, float | None]:
    """Return every metric of KINDS.

    None stands for what was not measured: the times of a run without a good answer, keys if no
    backend named itself, what only a run with chaos has. So does it if a killed backend was never
    ejected, or never returned after its restart: the slowest one took longer than the run.
    """
    total = result.total
    return {
        **_times("", total.latency),
        **_times("connect_", total.connect),
        **_times("first_byte_", total.first_byte),
        **_counts(total, result.seconds),
        "imbalance": spread.imbalance(spread.complete(total.backends, result.backends)),
        **_keys(total),
        **_chaos(result.chaos),
    }


def _times(prefix: str, times: Histogram) -> dict[str, float | None]:
    percentiles = {name: times.percentile(percent) for name, percent in PERCENTILES.items()}
    nanoseconds = percentiles | {"mean": times.mean}
    return {
        f"{prefix}{name}": None if value is None else value / 1e9
        for name, value in nanoseconds.items()
    }


def _counts(total: Tally, seconds: float) -> dict[str, float | None]:
    sums: dict[str, int] = {
        "requests": total.requests,
        "connections": total.connections,
        "bytes_sent": total.bytes_sent,
        "bytes_received": total.bytes_received,
    }
    rates = {f"{name}_per_second": _over(count, seconds) for name, count in sums.items()}
    errors = total.errors
    return {
        "errors": errors,
        "error_rate": _over(errors, errors + total.requests),
        **sums,
        **rates,
    }


def _over(part: int, whole: float) -> float | None:
    return part / whole if whole else None


def _keys(total: Tally) -> dict[str, float | None]:
    names = ("keys", "keys_moved", "moves")
    # Without a key that met anybody, none has moved, but nobody has looked either.
    return {name: getattr(total, name) if total.keys else None for name in names}


def _chaos(chaos: Chaos | None) -> dict[str, float | None]:
    outages: Sequence[Outage] = chaos.outages if chaos else ()
    restarted = [outage for outage in outages if outage.restarted_at is not None]
    return {
        "retries": sum(chaos.retries.values()) if chaos else None,
        "slowest_eject": _slowest(outage.seconds_to_eject for outage in outages),
        "slowest_return": _slowest(outage.seconds_to_return for outage in restarted),
    }


def _slowest(times: Iterable[float | None]) -> float | None:
    known: list[float] = []
    for time in times:
        if time is None:
            return None
        known.append(time)
    return max(known, default=None)

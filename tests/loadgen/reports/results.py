"""Results of runs that never ran, with known figures; and any results at all, for hypothesis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hypothesis import Phase, settings
from hypothesis import strategies as st

from tcplb.loadgen.histogram import Histogram
from tcplb.loadgen.job import Job, Mode, Target
from tcplb.loadgen.result import Chaos, ChaosEvent, Outage, RunResult, Second
from tcplb.loadgen.tally import Served, Tally

TARGET = Target("http://127.0.0.1:9090/", "127.0.0.1", 9090, "/", "127.0.0.1:9090")
STARTED = 1_700_000_000.25
"""2023-11-14T22:13:20.250Z."""


def job(**changes: Any) -> Job:
    """A closed loop of 4 connections over one second, if not changed."""
    settings: dict[str, Any] = {
        "target": TARGET,
        "mode": Mode.REQUEST,
        "connections": 4,
        "duration": 1.0,
    }
    return Job(**settings | changes)


def times(milliseconds: Sequence[float]) -> Histogram:
    """The histogram of so many times."""
    histogram = Histogram()
    for ms in milliseconds:
        histogram.record(round(ms * 1e6))
    return histogram


def tally(
    latencies: Sequence[float] = (),
    backends: Mapping[str, int] | None = None,
    failures: Mapping[str, int] | None = None,
    **changes: Any,
) -> Tally:
    """A tally with one request a latency (ms); a backend has a connection for 10 requests."""
    counts: dict[str, Any] = {
        "requests": len(latencies),
        "latency": times(latencies),
        "failures": Counter(failures or {}),
        "backends": {
            name: Served(requests, -(-requests // 10))
            for name, requests in (backends or {}).items()
        },
    }
    return Tally(**counts | changes)


def result(total: Tally | None = None, **changes: Any) -> RunResult:
    """A run of one second, if not changed; the timeline is the total unless it is given."""
    total = tally([1.0, 2.0, 3.0, 4.0], {"a": 4}) if total is None else total
    settings: dict[str, Any] = {
        "job": job(),
        "processes": 1,
        "started_at": STARTED,
        "seconds": 1.0,
        "total": total,
        "timeline": [Second.of(0, total)],
    }
    return RunResult(**settings | changes)


class Part(NamedTuple):
    """What was tallied in one second."""

    number: int
    tally: Tally


def from_seconds(seconds: Sequence[Part], /, **changes: Any) -> RunResult:
    """A run whose total is that of its seconds; those below 0 are its warm-up."""
    total = Tally()
    for second in seconds:
        if second.number >= 0:
            total.merge(second.tally)
    counted = sum(second.number >= 0 for second in seconds)
    timeline = [Second.of(*second) for second in seconds]
    settings: dict[str, Any] = {"seconds": float(counted), "timeline": timeline}
    return result(total, **settings | changes)


def empty(**changes: Any) -> RunResult:
    """A run that was interrupted before there was an answer."""
    return result(Tally(), **{"seconds": 0.0, "timeline": [], "interrupted": True} | changes)


def with_chaos(**changes: Any) -> RunResult:
    """Five seconds in which b was killed, ejected, restarted and given connections again."""
    seconds = [
        Part(0, tally([1.0] * 10, {"a": 5, "b": 5})),
        Part(1, tally([1.0] * 8, {"a": 7, "b": 1}, {"connection refused": 2})),
        Part(2, tally([2.0] * 10, {"a": 10})),
        Part(3, tally([1.0] * 10, {"a": 8, "b": 2})),
        Part(4, tally([1.0] * 10, {"a": 5, "b": 5})),
    ]
    chaos = Chaos(
        events=[
            ChaosEvent(1.25, "killed", "b", "killed b"),
            ChaosEvent(1.3125, "ejected", "b", "ejected b: 3 connects failed in a row"),
            ChaosEvent(2.5, "restarted", "b", "restarted b"),
            ChaosEvent(3.0, "returned", "b", "b is back"),
        ],
        outages=[Outage("b", 1.25, 2.5, 0.0625, 0.5, 2, 30)],
        retries={1: 30},
    )
    return from_seconds(seconds, job=job(duration=5.0), chaos=chaos, **changes)


quick = settings(
    max_examples=50, deadline=None, phases=[phase for phase in Phase if phase is not Phase.explain]
)
"""To explain a failure of so large an example would take minutes."""

# -- any --------------------------------------------------------------------------------------

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["web-1", "web-2", "<script>alert(1)</script>", "=1+1", 'a"b', "\x1b[31m", "x\ny", "\u202e"]
)
COUNTS = st.integers(0, 1 << 40)
SECONDS = st.floats(0, 3600)


def _histogram(values: Sequence[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


def each(strategy: st.SearchStrategy[Any], *names: str) -> dict[str, st.SearchStrategy[Any]]:
    """The same strategy for several fields."""
    return dict.fromkeys(names, strategy)


HISTOGRAMS = st.lists(st.integers(0, 1 << 43), max_size=4).map(_histogram)
TALLIES = st.builds(
    Tally,
    **each(COUNTS, "requests", "connections", "open", "bytes_sent", "bytes_received"),
    **each(COUNTS, "keys", "keys_moved", "moves"),
    **each(HISTOGRAMS, "latency", "connect", "first_byte"),
    failures=st.dictionaries(NAMES, COUNTS, max_size=3).map(Counter),
    statuses=st.dictionaries(st.integers(100, 999), COUNTS, max_size=2).map(Counter),
    backends=st.dictionaries(NAMES, st.builds(Served, COUNTS, COUNTS), max_size=4),
)
JOBS = st.builds(
    Job,
    target=NAMES.map(lambda text: Target(text, "::1", 1)),
    mode=st.sampled_from(Mode),
    rate=st.none() | st.floats(0.01, 1e6),
    count=st.none() | st.integers(1, 1 << 40),
    **each(st.integers(1, 1000), "connections", "burst", "paths", "sources"),
    **each(SECONDS, "ramp", "duration", "warmup", "timeout"),
)
EVENTS = st.builds(
    ChaosEvent,
    at=st.floats(-10, 20),
    kind=st.sampled_from(["killed", "restarted", "ejected", "returned"]),
    backend=NAMES,
    text=NAMES,
)
OUTAGES = st.builds(
    Outage,
    backend=NAMES,
    killed_at=SECONDS,
    **each(st.none() | SECONDS, "restarted_at", "seconds_to_eject", "seconds_to_return"),
    **each(COUNTS, "errors", "retries"),
)
CHAOSES = st.builds(
    Chaos,
    events=st.lists(EVENTS, max_size=5),
    outages=st.lists(OUTAGES, max_size=2),
    retries=st.dictionaries(st.integers(-3, 3), COUNTS, max_size=2),
)


def _timeline(first: int, tallies: Sequence[Tally]) -> list[Second]:
    return [Second.of(number, tally) for number, tally in enumerate(tallies, start=first)]


RUN_RESULTS = st.builds(
    RunResult,
    job=JOBS,
    processes=st.integers(1, 64),
    started_at=st.floats(0, 4e9),
    seconds=st.floats(0, 4),
    total=TALLIES,
    timeline=st.builds(_timeline, st.integers(-3, 0), st.lists(TALLIES, max_size=3)),
    backends=st.lists(NAMES, max_size=3),
    interrupted=st.booleans(),
    chaos=st.none() | CHAOSES,
    name=NAMES,
)
"""Any result: what is in it need not fit together."""

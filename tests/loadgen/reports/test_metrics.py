from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tcplb.loadgen.histogram import RELATIVE_ERROR, Histogram
from tcplb.loadgen.job import Job, Mode, Target
from tcplb.loadgen.reports.metrics import KINDS, Kind, metrics
from tcplb.loadgen.result import Chaos, Outage, RunResult
from tcplb.loadgen.tally import Served, Tally

JOB = Job(Target("localhost:9090", "127.0.0.1", 9090), Mode.ECHO)


def run(total: Tally, seconds: float = 2.0, **more: Any) -> RunResult:
    return RunResult(JOB, 1, 0.0, seconds, total, [], **more)


def milliseconds(*recorded: int) -> Histogram:
    histogram = Histogram()
    for value in recorded:
        histogram.record(value * 1_000_000)
    return histogram


THOUSAND = milliseconds(*range(1, 1001))


def outage(eject: float | None, back: float | None, *, restarted_at: float | None = 5.0) -> Outage:
    return Outage("a", 1.0, restarted_at, eject, back, errors=0, retries=0)


def chaos(*outages: Outage) -> dict[str, float | None]:
    return metrics(run(Tally(), chaos=Chaos([], outages, {0: 3, 4: 2})))


def test_every_metric_is_there_whether_measured_or_not() -> None:
    assert metrics(run(Tally())).keys() == KINDS.keys()
    assert metrics(run(Tally(requests=1, keys=1, latency=milliseconds(1)))).keys() == KINDS.keys()


@pytest.mark.parametrize(
    ("prefix", "total"),
    [
        ("", Tally(latency=THOUSAND)),
        ("connect_", Tally(connect=THOUSAND)),
        ("first_byte_", Tally(first_byte=THOUSAND)),
    ],
)
def test_times_are_in_seconds(prefix: str, total: Tally) -> None:
    measured = metrics(run(total))
    expected = {
        "p50": 0.5,
        "p90": 0.9,
        "p99": 0.99,
        "p99_9": 0.999,
        "max": 1.0,
        "mean": 0.5005,
    }
    for name, seconds in expected.items():
        assert measured[f"{prefix}{name}"] == pytest.approx(seconds, rel=RELATIVE_ERROR)
    times = {name for name, kind in KINDS.items() if kind is Kind.TIME}
    assert {name for name in times if measured[name] is not None} == {
        f"{prefix}{name}" for name in expected
    }


def test_counts_and_rates() -> None:
    total = Tally(
        requests=300,
        connections=20,
        bytes_sent=4000,
        bytes_received=10_000,
        failures=Counter({"timed out": 60, "connection refused": 40}),
    )
    measured = metrics(run(total, seconds=2.5))
    assert {name: measured[name] for name in list(KINDS)[18:28]} == {
        "errors": 100,
        "error_rate": 0.25,
        "requests": 300,
        "requests_per_second": 120,
        "connections": 20,
        "connections_per_second": 8,
        "bytes_sent": 4000,
        "bytes_received": 10_000,
        "bytes_sent_per_second": 1600,
        "bytes_received_per_second": 4000,
    }


def test_a_run_that_came_to_nothing_has_counts_but_no_rates_or_shares() -> None:
    measured = metrics(run(Tally(), seconds=0.0))
    known = {name for name, value in measured.items() if value is not None}
    assert known == {"errors", "requests", "connections", "bytes_sent", "bytes_received"}


def test_a_known_backend_that_got_nothing_counts_in_the_imbalance() -> None:
    total = Tally(backends={"a": Served(10, 1), "b": Served(10, 1)})
    assert metrics(run(total))["imbalance"] == 1.0
    assert metrics(run(total, backends=["a", "b", "c"]))["imbalance"] == 1.5
    assert metrics(run(Tally(), backends=["a", "b"]))["imbalance"] is None


def test_keys_that_stayed_are_0_moves_but_keys_that_nobody_saw_are_not() -> None:
    names = ("keys", "keys_moved", "moves")
    measured = metrics(run(Tally(keys=7, keys_moved=2, moves=5)))
    assert [measured[name] for name in names] == [7, 2, 5]
    measured = metrics(run(Tally(keys=7)))
    assert [measured[name] for name in names] == [7, 0, 0]
    measured = metrics(run(Tally()))
    assert [measured[name] for name in names] == [None, None, None]


def test_retries_are_those_of_the_whole_run() -> None:
    assert chaos()["retries"] == 5
    assert metrics(run(Tally(), chaos=Chaos([], [], {})))["retries"] == 0
    assert metrics(run(Tally()))["retries"] is None


def test_the_slowest_of_all_outages() -> None:
    measured = chaos(outage(0.5, 3.0), outage(1.5, 2.0))
    assert (measured["slowest_eject"], measured["slowest_return"]) == (1.5, 3.0)
    measured = chaos()
    assert (measured["slowest_eject"], measured["slowest_return"]) == (None, None)


def test_what_never_came_is_not_outshone_by_what_did() -> None:
    measured = chaos(outage(0.5, 3.0), outage(None, None))
    assert (measured["slowest_eject"], measured["slowest_return"]) == (None, None)


def test_a_backend_that_was_never_restarted_is_not_waited_for() -> None:
    measured = chaos(outage(0.5, 3.0), outage(0.7, None, restarted_at=None))
    assert (measured["slowest_eject"], measured["slowest_return"]) == (0.7, 3.0)


def test_the_table_travels_as_json() -> None:
    measured = metrics(run(Tally(requests=3, latency=milliseconds(1, 2, 3))))
    assert json.loads(json.dumps(measured)) == measured

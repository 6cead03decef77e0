from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.loadgen.reports.report import to_report, to_reports
from tcplb.loadgen.result import RunResult
from tcplb.loadgen.tally import Tally
from tests.loadgen.reports.results import (
    RUN_RESULTS,
    Part,
    empty,
    from_seconds,
    job,
    quick,
    result,
    tally,
    times,
    with_chaos,
)


def exactly(ms: float) -> object:
    """What a histogram says of so many milliseconds, rounded to 4 digits."""
    return pytest.approx(ms, rel=0.0045)


# -- totals -----------------------------------------------------------------------------------


def test_rates_are_over_the_seconds_that_were_counted() -> None:
    total = tally([1.0] * 30, connections=6, bytes_sent=300, bytes_received=1200)
    report = to_report(result(total, seconds=1.5))
    assert report["seconds"] == 1.5
    assert report["requests"] == 30
    assert report["requests_per_second"] == 20
    assert report["connections_per_second"] == 4
    assert report["bytes"] == {
        "sent": 300,
        "received": 1200,
        "sent_per_second": 200,
        "received_per_second": 800,
    }


def test_times_are_in_milliseconds_and_within_the_error_that_the_report_states() -> None:
    total = tally([number / 10 for number in range(1, 2001)])
    report = to_report(result(total))
    assert report["latency_relative_error"] == pytest.approx(0.0039, abs=0.0001)
    assert report["latency_ms"] == {
        "count": 2000,
        "mean": exactly(100.05),
        "p50": exactly(100),
        "p90": exactly(180),
        "p99": exactly(198),
        "p99_9": exactly(199.8),
        "max": exactly(200),
    }


def test_each_kind_of_time_has_its_own_figures() -> None:
    total = tally([5.0], connect=times([1.0, 1.0]), first_byte=times([3.0]))
    report = to_report(result(total))
    assert report["latency_ms"]["p50"] == exactly(5)
    assert report["connect_ms"]["count"] == 2
    assert report["connect_ms"]["max"] == exactly(1)
    assert report["first_byte_ms"]["p50"] == exactly(3)


def test_what_was_not_measured_is_null() -> None:
    report = to_report(empty())
    names = ["latency_ms", "connect_ms", "first_byte_ms", "latency_distribution"]
    assert [report[name] for name in names] == [None] * 4
    assert report["error_rate"] is None
    assert report["imbalance"] is None
    assert report["requests_per_second"] == 0
    assert report["interrupted"]


def test_errors_are_of_all_causes_and_the_rate_is_of_all_that_was_tried() -> None:
    total = tally([1.0] * 7, failures={"connection refused": 1, "no answer in time": 2})
    report = to_report(result(total))
    assert report["errors"] == 3
    assert report["error_rate"] == 0.3


def test_the_most_frequent_failure_comes_first_and_equal_ones_by_name() -> None:
    report = to_report(result(tally(failures={"c": 1, "b": 9, "a": 1})))
    assert [failure["cause"] for failure in report["failures"]] == ["b", "a", "c"]
    assert [failure["count"] for failure in report["failures"]] == [9, 1, 1]


def test_statuses_are_in_ascending_order() -> None:
    report = to_report(result(tally(statuses=Counter({503: 1, 200: 4}))))
    assert list(report["statuses"].items()) == [("200", 4), ("503", 1)]


# -- what was asked for -----------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "kind"), [(None, "closed"), (100.0, "open")])
def test_a_load_with_a_rate_is_open(rate: float | None, kind: str) -> None:
    load = to_report(result(job=job(rate=rate, count=500, warmup=2.0), processes=3))["load"]
    assert (load["kind"], load["rate"]) == (kind, rate)
    assert (load["count"], load["warmup_seconds"], load["processes"]) == (500, 2.0, 3)


def test_the_start_is_in_utc() -> None:
    assert to_report(result())["started_at"] == "2023-11-14T22:13:20.250Z"
    assert to_report(result(started_at=0.0))["started_at"] == "1970-01-01T00:00:00.000Z"


def test_only_a_run_with_a_name_has_a_name() -> None:
    assert "name" not in to_report(result())
    assert to_report(result(name="keep-alive"))["name"] == "keep-alive"


def test_a_set_has_its_reports_in_order() -> None:
    written = to_reports([result(name="b"), result(name="a")])
    assert written["format"] == 1
    assert [report["name"] for report in written["reports"]] == ["b", "a"]


# -- backends and keys ------------------------------------------------------------------------


def test_backends_that_are_known_and_got_nothing_are_there() -> None:
    report = to_report(result(tally([1.0] * 4, {"b": 3, "a": 1}), backends=["c", "b"]))
    assert report["backends"] == [
        {"name": "a", "requests": 1, "connections": 1, "share": 0.25},
        {"name": "b", "requests": 3, "connections": 1, "share": 0.75},
        {"name": "c", "requests": 0, "connections": 0, "share": 0.0},
    ]
    assert report["imbalance"] == 2.25


@pytest.mark.parametrize("changes", [{"paths": 2}, {"sources": 2}], ids=str)
def test_keys_are_told_if_there_are_several(changes: dict[str, int]) -> None:
    total = tally([1.0], keys=2, keys_moved=1, moves=5)
    assert to_report(result(total))["keys"] is None
    keys = to_report(result(total, job=job(**changes)))["keys"]
    assert keys == {"seen": 2, "moved": 1, "moves": 5}


# -- over time --------------------------------------------------------------------------------


def test_the_warm_up_is_in_the_timeline_and_in_no_total() -> None:
    seconds = [
        Part(-1, tally([9.0] * 5, {"a": 5})),
        Part(0, tally([1.0], {"b": 1, "a": 0}, {"x": 2}, open=3)),
        Part(1, Tally()),
    ]
    report = to_report(from_seconds(seconds))
    assert report["requests"] == 1
    assert report["latency_ms"]["max"] == exactly(1)
    assert [second["second"] for second in report["timeline"]] == [-1, 0, 1]
    assert report["timeline"][1] == {
        "second": 0,
        "requests": 1,
        "errors": 2,
        "open": 3,
        "p50_ms": exactly(1),
        "p99_ms": exactly(1),
        "backends": {"a": 0, "b": 1},
    }
    assert report["timeline"][2]["p99_ms"] is None


def test_chaos_has_events_outages_and_the_retries_of_each_second() -> None:
    report = to_report(with_chaos())
    assert [event["kind"] for event in report["chaos"]["events"]] == [
        "killed",
        "ejected",
        "restarted",
        "returned",
    ]
    assert report["chaos"]["events"][1]["at"] == 1.312
    assert report["chaos"]["outages"] == [
        {
            "backend": "b",
            "killed_at": 1.25,
            "restarted_at": 2.5,
            "seconds_to_eject": 0.062,
            "seconds_to_return": 0.5,
            "errors": 2,
            "retries": 30,
        }
    ]
    assert [second["retries"] for second in report["timeline"]] == [0, 30, 0, 0, 0]


def test_a_run_without_chaos_says_nothing_of_it() -> None:
    report = to_report(result())
    assert "chaos" not in report
    assert all("retries" not in second for second in report["timeline"])


# -- the distribution -------------------------------------------------------------------------


def test_the_distribution_has_nine_steps_for_each_nine_as_far_as_there_are_values() -> None:
    points = to_report(result(tally([1.0] * 1000)))["latency_distribution"]
    percents = [percent for percent, _ in points]
    assert percents[:10] == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert percents[10:19] == [91, 92, 93, 94, 95, 96, 97, 98, 99]
    assert percents[19:] == [99.1, 99.2, 99.3, 99.4, 99.5, 99.6, 99.7, 99.8, 99.9, 100]


@given(RUN_RESULTS)
@quick
def test_the_distribution_is_short_and_rises_from_0_to_the_largest_value(made: RunResult) -> None:
    report = to_report(made)
    points = report["latency_distribution"]
    if points is None:
        assert report["latency_ms"] is None
        return
    assert points[0][0] == 0
    assert points[-1] == [100, report["latency_ms"]["max"]]
    assert len(points) <= 60
    assert all(one[0] < other[0] and one[1] <= other[1] for one, other in pairwise(points))


@given(st.integers(1, 10**9))
@quick
def test_the_distribution_of_many_values_is_short_too(count: int) -> None:
    total = Tally()
    for _ in range(count.bit_length()):  # doubled by merging: nobody records a billion
        total.merge(tally([1.0], latency=times([1.0, 2.0])))
        total.latency.merge(total.latency)
    points = to_report(result(total))["latency_distribution"]
    assert points is not None
    assert len(points) <= 60

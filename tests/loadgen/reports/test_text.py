from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given

from tcplb.loadgen.reports.report import to_report
from tcplb.loadgen.reports.text import columns, to_text
from tcplb.loadgen.result import Chaos, ChaosEvent, Outage, RunResult
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


def text(total: Tally | None = None, **changes: Any) -> str:
    return to_text(to_report(result(total, **changes)))


def lines(written: str) -> list[list[str]]:
    """The words of each line."""
    return [line.split() for line in written.splitlines()]


# -- head -------------------------------------------------------------------------------------


def test_the_head_says_what_was_done_to_whom() -> None:
    first, second, *_ = text(name="small").splitlines()
    assert first == "small: request against http://127.0.0.1:9090/"
    assert second == "closed loop of 4 connections, 1 s measured"


def test_an_open_loop_is_told_by_its_rate() -> None:
    asked = job(rate=12_500.0, burst=10, ramp=2.5, paths=100, sources=1, count=9000, warmup=1.0)
    assert text(job=asked, processes=2).splitlines()[1] == (
        "open loop of 12,500 requests/s over 4 connections, 10 at a time, grown over 2.5 s, "
        "100 paths, 9,000 requests at most, 2 processes, 1 s of warm-up, "
        "1 s measured"
    )


# -- figures ----------------------------------------------------------------------------------


def test_rates_have_thousands_separators() -> None:
    total = tally(requests=123_456, bytes_received=5_000_000, failures={"x": 1234})
    assert lines(text(total, seconds=2.0))[3:8] == [
        ["requests", "123,456", "61,728/s"],
        ["connections", "0", "0/s"],
        ["sent", "0", "B", "0", "B/s"],
        ["received", "5.00", "MB", "2.50", "MB/s"],
        ["errors", "1,234", "0.990", "%"],
    ]


def test_times_stand_side_by_side_each_in_its_unit() -> None:
    total = tally([20.0] * 10, connect=times([0.05]), first_byte=times([4096.0]))
    written = text(total)
    assert "time   latency  connect  first byte\n" in written
    assert "p99.9  20.0 ms  50.0 µs      4.10 s\n" in written
    assert "count       10        1           1\n" in written
    assert "\nTimes are within ± 0.4 % of the measured ones.\n" in written


def test_a_time_that_nobody_measured_has_no_column() -> None:
    assert "\ntime   latency\n" in text(tally([1.0]))


def test_failures_are_told_by_cause_and_statuses_if_one_is_not_200() -> None:
    failures = {"connection refused": 3, "no answer in time": 1000}
    written = text(tally([1.0], failures=failures, statuses=Counter({200: 1, 503: 2})))
    assert "no answer in time   1,000\nconnection refused      3\n" in written
    assert "\nstatuses  200: 1, 503: 2\n" in written
    assert "statuses" not in text(tally([1.0], statuses=Counter({200: 1})))


# -- backends ---------------------------------------------------------------------------------


def test_the_spread_has_a_bar_in_proportion() -> None:
    written = text(tally([1.0] * 30, {"a": 20, "b": 10}), backends=["c"])
    assert f"a              20            2  66.7 %  {'█' * 24}\n" in written
    assert f"b              10            1  33.3 %  {'█' * 12}\n" in written
    assert "c               0            0     0 %\n" in written


def test_a_part_of_a_block_is_an_eighth() -> None:
    # 24 characters for 192 requests: 8 requests to a character.
    written = text(tally([1.0] * 195, {"a": 192, "b": 11}))
    assert written.splitlines()[-2].endswith("  █▍")


@pytest.mark.parametrize(
    ("backends", "words"),
    [
        ({"a": 26, "b": 24}, "The busiest backend had 1.04 times the mean."),
        ({"a": 5, "b": 5}, "No backend had more than the mean."),
        ({"a": 1750, "b": 1749}, "No backend had more than the mean."),
        ({"a": 0}, "No backend named itself in an answer."),
    ],
)
def test_the_imbalance_is_told_in_words(backends: dict[str, int], words: str) -> None:
    assert words in text(tally([1.0], backends)).splitlines()


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((100, 3, 5), "100 keys: 3 met another backend than before, in 5 moves."),
        ((100, 0, 0), "100 keys: all stayed with their backend."),
        ((0, 0, 0), "No key met a backend that names itself."),
    ],
)
def test_keys_are_told_in_words(counts: tuple[int, int, int], words: str) -> None:
    seen, moved, moves = counts
    total = tally([1.0], keys=seen, keys_moved=moved, moves=moves)
    assert words in text(total, job=job(paths=100)).splitlines()


# -- chaos ------------------------------------------------------------------------------------


def test_chaos_is_told_second_by_second_with_what_happened() -> None:
    written = to_text(to_report(with_chaos()))
    assert (
        "second  requests  errors  retries      p99\n"
        "     0        10       0        0  1.00 ms\n"
        "     1         8       2       30  1.00 ms"
        "  killed b; ejected b: 3 connects failed in a row\n"
        "     2        10       0        0  2.00 ms  restarted b\n"
        "     3        10       0        0  1.00 ms  b is back\n"
        "     4        10       0        0  1.00 ms\n"
    ) in written


def test_outages_are_told_with_their_times() -> None:
    written = to_text(to_report(with_chaos()))
    assert (
        "outage  killed at  ejected after  restarted at  back after  errors  retries\n"
        "b          1.25 s        62.0 ms         2.5 s      500 ms       2       30\n"
    ) in written


def test_what_did_not_come_is_told_as_never() -> None:
    chaos = Chaos([], [Outage("b", 0.5, None, None, None, 7, 0)], {})
    written = text(chaos=chaos)
    assert ["b", "0.5", "s", "never", "–", "never", "7", "0"] in lines(written)


def test_an_event_outside_of_the_timeline_goes_to_its_nearest_second() -> None:
    events = [ChaosEvent(-3.5, "killed", "a", "early"), ChaosEvent(9.5, "killed", "a", "late")]
    seconds = [Part(number, tally([1.0])) for number in range(3)]
    written = to_text(to_report(from_seconds(seconds, chaos=Chaos(events, [], {}))))
    told = [words[-1] for words in lines(written) if words[:1] in (["0"], ["1"], ["2"])]
    assert told == ["early", "ms", "late"]


# -- the end ----------------------------------------------------------------------------------


def test_an_interrupted_run_says_how_far_it_came() -> None:
    written = text(seconds=3.4, job=job(duration=10.0), interrupted=True)
    assert written.endswith("\n\nInterrupted: 3.4 s of 10 s were measured.\n")
    assert "Interrupted" not in text()


def test_a_run_without_anything_says_so() -> None:
    written = to_text(to_report(empty()))
    assert written.endswith("\nNothing was measured.\n")
    assert "p99" not in written


@given(RUN_RESULTS)
@quick
def test_whatever_backends_call_themselves_the_text_is_plain(made: RunResult) -> None:
    written = to_text(to_report(made))
    assert all(line.isprintable() for line in written.split("\n"))
    assert "\n\n\n" not in written


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [("a", "1", "22"), ("bbb", "333", "4")]
    assert list(columns(rows)) == ["a      1  22", "bbb  333   4"]
    assert list(columns(rows, left=2)) == ["a    1    22", "bbb  333   4"]

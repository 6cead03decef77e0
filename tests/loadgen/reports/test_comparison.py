from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import pytest

from tcplb.loadgen.reports.comparison import (
    MEASURES,
    Comparison,
    Spread,
    to_csv,
    to_report,
    to_text,
)
from tcplb.loadgen.result import RunResult
from tests.loadgen.reports.results import empty, result, tally

BY_KEY = {measure.key: measure for measure in MEASURES}
RATE = BY_KEY["requests_per_second"]


def run(name: str, requests: int, latency: float = 1.0, errors: int = 0) -> RunResult:
    total = tally([latency] * requests, failures={"refused": errors}, bytes_received=requests * 100)
    return result(total, name=name)


def compare(*rounds: Sequence[RunResult]) -> Comparison:
    return Comparison(rounds)


DRIFTING = compare(
    # The machine is twice as slow in the second round, and four times in the third.
    [run("ours", 800), run("theirs", 400)],
    [run("ours", 400), run("theirs", 200)],
    [run("ours", 200), run("theirs", 100)],
)


def test_a_spread_has_the_median_the_smallest_and_the_largest() -> None:
    assert Spread.of([5.0, None, 1.0, 2.0]) == Spread(2.0, 1.0, 5.0)
    assert Spread.of([None, None]) is None


def test_a_ratio_is_taken_within_a_round_so_drift_drops_out() -> None:
    assert DRIFTING.spread(RATE, "ours") == Spread(400.0, 200.0, 800.0)
    assert DRIFTING.ratio(RATE, "theirs") == Spread(0.5, 0.5, 0.5)


def test_the_median_of_ratios_is_not_the_ratio_of_medians() -> None:
    comparison = compare(
        [run("ours", 100), run("theirs", 300)],
        [run("ours", 200), run("theirs", 200)],
        [run("ours", 300), run("theirs", 100)],
    )
    # Both medians are 200. The second round is the median of the ratios 3, 1 and 1/3 as well.
    assert comparison.ratio(RATE, "theirs") == Spread(1.0, 1 / 3, 3.0)
    two = compare(*comparison.rounds[:2])
    assert two.ratio(RATE, "theirs") == Spread(2.0, 1.0, 3.0)


def test_nothing_is_divided_by_nothing() -> None:
    comparison = compare(
        [run("ours", 10, errors=0), run("theirs", 10, errors=4)],
        [run("ours", 10, errors=2), run("theirs", 10, errors=4)],
    )
    assert comparison.ratio(BY_KEY["errors"], "theirs") == Spread(2.0, 2.0, 2.0)
    first = compare(comparison.rounds[0])
    assert first.ratio(BY_KEY["errors"], "theirs") is None
    assert first.ratio(BY_KEY["connect_p50_ms"], "theirs") is None
    assert first.spread(BY_KEY["connect_p50_ms"], "theirs") is None


def test_a_round_without_an_answer_leaves_the_others() -> None:
    rounds = [
        [run("ours", 10, 2.0), empty(name="theirs")],
        [run("ours", 10, 2.0), run("theirs", 10, 1.0)],
    ]
    comparison = compare(*rounds)
    ratio = comparison.ratio(BY_KEY["latency_p99_ms"], "theirs")
    assert ratio is not None
    assert ratio.median == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(
    "rounds",
    [
        [],
        [[]],
        [[run("a", 1), run("a", 1)]],
        [[run("a", 1), run("b", 1)], [run("b", 1), run("a", 1)]],
        [[run("a", 1), run("b", 1)], [run("a", 1)]],
    ],
    ids=["no rounds", "no names", "twice", "turned", "incomplete"],
)
def test_rounds_that_do_not_fit_are_refused(rounds: list[list[RunResult]]) -> None:
    with pytest.raises(ValueError, match=r"nothing|same name"):
        Comparison(rounds)


def test_the_report_has_each_measure_of_each_name_and_all_runs() -> None:
    report = to_report(DRIFTING)
    assert (report["base"], report["names"]) == ("ours", ["ours", "theirs"])
    assert (report["rounds"], report["seconds_per_round"]) == (3, 1.0)
    assert [run["name"] for run in report["runs"]] == ["ours", "theirs"] * 3
    rate = report["measures"][0]
    assert (rate["measure"], rate["unit"], rate["better"]) == ("requests_per_second", "1/s", "more")
    assert rate["values"][1] == {
        "name": "theirs",
        "value": {"median": 200.0, "low": 100.0, "high": 400.0},
        "ratio": {"median": 0.5, "low": 0.5, "high": 0.5},
    }
    assert {measure["measure"] for measure in report["measures"]} == set(BY_KEY)


def test_each_measure_is_of_what_it_says() -> None:
    comparison = compare([run("a", 50, 4.0, errors=3)])
    medians = {key: comparison.spread(measure, "a") for key, measure in BY_KEY.items()}
    measured = {key: spread.median for key, spread in medians.items() if spread}
    assert measured == {
        "requests_per_second": 50,
        "latency_p50_ms": pytest.approx(4, rel=0.005),
        "latency_p99_ms": pytest.approx(4, rel=0.005),
        "latency_p99_9_ms": pytest.approx(4, rel=0.005),
        "bytes_received_per_second": 5000,
        "errors": 3,
    }


def test_the_text_has_a_line_a_measure_and_name() -> None:
    written = to_text(to_report(DRIFTING))
    assert written.startswith("3 rounds of 1 s for each of 2 targets, interleaved\n")
    assert "ours    http://127.0.0.1:9090/\n" in written
    table = [line.split("  ") for line in written.splitlines()]
    cells = [[cell.strip() for cell in line if cell] for line in table]
    assert ["requests/s (more is better)", "ours", "400 (200 – 800)", "–"] in cells
    assert ["theirs", "200 (100 – 400)", "0.500"] in cells
    assert "connect p50" not in written


def test_the_text_tells_a_ratio_with_its_smallest_and_largest() -> None:
    comparison = compare(
        [run("a", 10), run("b", 10)], [run("a", 10), run("b", 20)], [run("a", 10), run("b", 15)]
    )
    assert "  1.50 (1.00 – 2.00)\n" in to_text(to_report(comparison))


def test_the_csv_has_a_line_a_name_and_round() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(to_report(DRIFTING)))))
    assert [(row["round"], row["name"], row["requests"]) for row in rows] == [
        ("1", "ours", "800"),
        ("1", "theirs", "400"),
        ("2", "ours", "400"),
        ("2", "theirs", "200"),
        ("3", "ours", "200"),
        ("3", "theirs", "100"),
    ]

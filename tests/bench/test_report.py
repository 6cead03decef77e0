"""The report as JSON and as Markdown."""

from __future__ import annotations

import json

from bench.markdown import spread, to_markdown
from bench.stats import Summary
from tests.bench.reports import report


def test_json_holds_everything_and_survives_a_round_trip() -> None:
    document = report().to_json()
    assert json.loads(json.dumps(document)) == document
    assert set(document) == {"machine", "versions", "settings", "results", "targets", "skipped"}


def test_a_result_in_json() -> None:
    results = report().to_json()["results"]
    found = [r for r in results if (r["candidate"], r["measure"]) == ("tcplb-splice", "cpu")]
    assert found[0] == {
        "scenario": "connect",
        "candidate": "tcplb-splice",
        "measure": "cpu",
        "unit": "µs",
        "samples": [84.0, 42.0, 63.0],
        "median": 63.0,
        "low": 42.0,
        "high": 84.0,
        "ratio": {"median": 1.5, "low": 1.0, "high": 2.0},
        "ratio_to": "haproxy",
    }


def test_a_measure_that_is_not_compared_has_no_ratio_in_json() -> None:
    rates = [r for r in report().to_json()["results"] if r["measure"] == "rate"]
    assert rates
    assert all(r["ratio"] is None and r["ratio_to"] is None for r in rates)


def test_a_target_in_json() -> None:
    target = report().to_json()["targets"][0]
    assert target == {
        "title": "CPU per connection, access log on",
        "scenario": "connect",
        "measure": "cpu",
        "must": 1.4,
        "aim": 1.15,
        "candidate": "tcplb-splice",
        "ratio": 1.5,
        "verdict": "missed",
    }


def test_candidates_are_listed_in_one_order_whoever_was_first() -> None:
    assert report().candidates("connect") == ["tcplb-splice", "haproxy", "haproxy-splice"]


def test_markdown_has_a_row_a_candidate() -> None:
    lines = to_markdown(report()).splitlines()
    assert "| tcplb-splice | 63.0 (42.0 – 84.0) | 1.50 | 20,000 |" in lines
    assert "| haproxy-splice | 400 | 1.00 | 1.50 |" in lines


def test_markdown_judges_every_target() -> None:
    lines = to_markdown(report()).splitlines()
    assert "| CPU per GB, bulk | tcplb-splice | 0.75 | ≤ 1.15 | ≤ 0.85 | met aim |" in lines
    assert "| memory per idle pair | tcplb-splice | – | ≤ 1.00 | ≤ 0.40 | not measured |" in lines


def test_markdown_names_what_was_skipped_once_a_reason() -> None:
    lines = to_markdown(report()).splitlines()
    assert "- nginx (connect, bulk): nginx is not installed" in lines


def test_figures_have_as_many_digits_as_make_sense() -> None:
    assert spread(Summary(1234.5, 1000.4, 2000.0)) == "1,234 (1,000 – 2,000)"
    assert spread(Summary(38.21, 37.04, 41.0)) == "38.2 (37.0 – 41.0)"
    assert spread(Summary(0.584, 0.58, 0.6)) == "0.58 (0.58 – 0.60)"
    assert spread(Summary(9.0, 9.0, 9.0)) == "9.00"

"""Samples, and the ratio to the better of HAProxy's two settings."""

from __future__ import annotations

import pytest

from bench.results import Results
from bench.stats import Summary
from tests.bench.reports import measured


def test_the_base_is_chosen_measure_by_measure() -> None:
    results = measured()
    assert results.base("connect", "cpu") == ("haproxy", 42.0)
    assert results.base("bulk", "cpu") == ("haproxy-splice", 400.0)


def test_ratios_are_to_the_median_of_the_base() -> None:
    results = measured()
    assert results.ratio("connect", "tcplb-splice", "cpu") == Summary(1.5, 1.0, 2.0)
    assert results.ratio("bulk", "haproxy", "cpu") == Summary(2.0, 2.0, 2.0)


def test_one_of_the_settings_is_enough_for_a_base() -> None:
    results = Results()
    results.add("bulk", "haproxy-splice", {"cpu": 400.0})
    assert results.base("bulk", "cpu") == ("haproxy-splice", 400.0)


@pytest.mark.parametrize(
    ("scenario", "candidate", "key"),
    [("idle", "tcplb-splice", "memory"), ("connect", "go", "cpu"), ("connect", "haproxy", "p99")],
)
def test_what_was_not_measured_has_no_ratio(scenario: str, candidate: str, key: str) -> None:
    results = measured()
    assert results.summary(scenario, candidate, key) is None
    assert results.ratio(scenario, candidate, key) is None


def test_without_haproxy_there_are_figures_and_no_ratios() -> None:
    results = Results()
    results.add("connect", "tcplb-splice", {"cpu": 50.0})
    assert results.base("connect", "cpu") is None
    assert results.ratio("connect", "tcplb-splice", "cpu") is None
    assert results.summary("connect", "tcplb-splice", "cpu") == Summary(50.0, 50.0, 50.0)

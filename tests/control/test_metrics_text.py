from __future__ import annotations

from itertools import accumulate
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.control.metrics_text import Family, labels
from tests.control.metrics_page import Page, buckets_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
"""What can be a label: everything but half a character."""


def test_a_metric_is_its_head_and_a_line_for_each_sample() -> None:
    family = Family("tcplb_things", "gauge", "How many things there are.")
    family.add(1, labels(kind="a", size="big"))
    family.add(2.5, labels(kind="b", size="big"))
    assert family.text() == (
        "# HELP tcplb_things How many things there are.\n"
        "# TYPE tcplb_things gauge\n"
        'tcplb_things{kind="a",size="big"} 1\n'
        'tcplb_things{kind="b",size="big"} 2.5\n'
    )


def test_without_labels_there_are_no_braces() -> None:
    family = Family("tcplb_things_total", "counter", "Things.")
    family.add(3)
    assert family.text().splitlines()[2:] == ["tcplb_things_total 3"]


def test_a_metric_without_samples_is_not_there() -> None:
    assert Family("tcplb_things", "gauge", "Things.").text() == ""


@given(TEXTS, TEXTS)
def test_any_label_comes_back(one: str, other: str) -> None:
    family = Family("tcplb_things", "gauge", "Things.")
    family.add(1, labels(one=one, other=other))
    assert Page(family.text()).value("tcplb_things", one=one, other=other) == 1


@pytest.mark.parametrize("text", ['"', "\\", "\n", '\\"', "\\n", 'a"} 7\nother{x="', "{},= é"])
def test_nothing_in_a_label_ends_it(text: str) -> None:
    family = Family("tcplb_things", "gauge", "Things.")
    family.add(1, labels(one=text, other=text))
    assert Page(family.text())["tcplb_things"] == {frozenset({("one", text), ("other", text)}): 1}


@given(st.one_of(st.integers(0, 2**63), st.floats(0, allow_nan=False)))
def test_any_number_comes_back(number: float) -> None:
    family = Family("tcplb_things", "gauge", "Things.")
    family.add(number)
    assert Page(family.text()).value("tcplb_things") == number


def test_infinity_is_written_as_the_format_says() -> None:
    family = Family("tcplb_things", "gauge", "Things.")
    family.add(inf)
    assert family.text().endswith("tcplb_things +Inf\n")


def test_a_histogram_is_cumulative() -> None:
    family = Family("tcplb_wait_seconds", "histogram", "Waits.")
    family.add_histogram((0.0005, 1.0, 60.0), (3, 0, 2, 1), 84.25, labels(pool="web"))
    assert family.text().splitlines()[1:] == [
        "# TYPE tcplb_wait_seconds histogram",
        'tcplb_wait_seconds_bucket{pool="web",le="0.0005"} 3',
        'tcplb_wait_seconds_bucket{pool="web",le="1.0"} 3',
        'tcplb_wait_seconds_bucket{pool="web",le="60.0"} 5',
        'tcplb_wait_seconds_bucket{pool="web",le="+Inf"} 6',
        'tcplb_wait_seconds_count{pool="web"} 6',
        'tcplb_wait_seconds_sum{pool="web"} 84.25',
    ]


@given(st.lists(st.integers(0, 2**40), min_size=4, max_size=4), st.floats(0, 1e9))
def test_any_histogram_adds_up(counts: list[int], total: float) -> None:
    family = Family("tcplb_wait_seconds", "histogram", "Waits.")
    family.add_histogram((0.1, 1.0, 10.0), counts, total, labels(pool="web"))
    page = Page(family.text())
    assert list(buckets_of(page, "tcplb_wait_seconds", pool="web").values()) == list(
        accumulate(counts)
    )
    assert page.value("tcplb_wait_seconds_sum", pool="web") == total


def test_a_histogram_with_a_bucket_missing_is_a_mistake() -> None:
    family = Family("tcplb_wait_seconds", "histogram", "Waits.")
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        family.add_histogram((0.1, 1.0), (1, 2), 1.0, labels(pool="web"))

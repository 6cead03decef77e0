from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.loadgen.reports import comparison
from tcplb.loadgen.reports.comparison import Comparison
from tcplb.loadgen.reports.page import to_html
from tcplb.loadgen.reports.report import to_report
from tcplb.loadgen.result import Chaos, ChaosEvent, RunResult
from tests.loadgen.reports.pages import Node, chart, page, read, table, titles
from tests.loadgen.reports.results import (
    RUN_RESULTS,
    empty,
    job,
    quick,
    result,
    tally,
    times,
    with_chaos,
)

PLACES = {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height", "points"}
EVIL = "<script>alert('1')</script>\"&amp;"


def compared() -> str:
    rounds = [
        [result(tally([scale * 1.0] * 10), name="a"), result(tally([scale * 2.0] * 10), name="b")]
        for scale in (1, 4)
    ]
    report = comparison.to_report(Comparison(rounds))
    return to_html(report["runs"], report)


# -- the page by itself -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        to_html([]),
        to_html([to_report(empty())]),
        to_html([to_report(with_chaos())]),
        to_html([to_report(result(name="a")), to_report(empty(name="b"))]),
        compared(),
    ],
    ids=["nothing", "empty", "chaos", "set", "comparison"],
)
def test_the_page_needs_nothing_else(written: str) -> None:
    root = read(written)
    bare = written.replace("http://127.0.0.1:9090/", "")  # the target, as text
    assert not re.search(r"https?:|//|url\(|@import|javascript:", bare)
    tags = {node.tag for node in root}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert all(node.attributes["href"].startswith("#") for node in root.all("a"))
    policy = [node.attributes.get("content") for node in root.all("meta")][-1]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


@given(RUN_RESULTS)
@quick
def test_any_run_is_a_well_formed_page(made: RunResult) -> None:
    written = to_html([to_report(made)])
    root = read(written)
    assert root.all("script") == []
    drawn = [node.attributes for svg in root.all("svg") for node in svg]
    places = [value for attributes in drawn for name, value in attributes.items() if name in PLACES]
    assert not any(re.search("nan|inf|e", place) for place in places)
    written.encode("utf-8")


@given(st.lists(st.tuples(RUN_RESULTS, RUN_RESULTS), min_size=1, max_size=2))
@quick
def test_any_comparison_is_a_well_formed_page(made: list[tuple[RunResult, RunResult]]) -> None:
    rounds = [[replace(one, name="a"), replace(other, name=EVIL)] for one, other in made]
    report = comparison.to_report(Comparison(rounds))
    assert read(to_html(report["runs"], report)).all("script") == []


def test_what_comes_from_outside_is_text() -> None:
    chaos = Chaos([ChaosEvent(0.5, "killed", EVIL, EVIL)], [], {})
    total = tally([1.0], {EVIL: 1}, {EVIL: 1})
    root = page(result(total, name=EVIL, chaos=chaos))
    assert root.all("script") == []
    assert root.all("h1")[0].text == f"tcplb bench: {EVIL}"
    assert table(root, "Backends")[0][0] == EVIL
    assert table(root, "Failures by cause")[0][0] == EVIL
    assert f"0.5 s: {EVIL}" in titles(root)


def test_what_cannot_be_printed_is_written_out() -> None:
    root = page(result(tally([1.0], {"a\x1b[31m\x00\u202e": 1})))
    assert table(root, "Backends")[0][0] == "a\\x1b[31m\\x00\\u202e"
    assert chart(root, "Requests of each backend").all("text")[0].text == "a\\x1b[31m\\x00\\u202e"


def test_the_outline_has_one_first_heading_and_skips_none() -> None:
    for root in (page(with_chaos()), page(result(name="a"), result(name="b")), read(compared())):
        levels = [int(node.tag[1]) for node in root if re.fullmatch("h[1-6]", node.tag)]
        assert levels.count(1) == 1
        assert levels[0] == 1


def test_charts_and_tables_say_what_they_are() -> None:
    for root in (page(with_chaos()), read(compared())):
        charts = root.all("svg")
        assert len(charts) >= 2
        assert all(svg.attributes["role"] == "img" for svg in charts)
        assert all(svg.attributes["aria-label"] for svg in charts)
        for found in root.all("table"):
            assert all(cell.attributes["scope"] for cell in found.all("th"))
            assert found.all("caption")[0].text


# -- what is on it ----------------------------------------------------------------------------


def cards(root: Node) -> dict[str, str]:
    return {
        card.all("dt")[0].text: card.all("dd")[0].text
        for card in root.all("dl", "cards")[0].all("div")
    }


def test_the_cards_have_the_figures() -> None:
    total = tally([2.0] * 3000, {"a": 2000, "b": 1000}, {"x": 1000}, bytes_received=5000)
    shown = cards(page(result(total)))
    assert shown["requests per second"].startswith("3,000")
    assert shown["latency p99.9"] == "2.00 ms"
    assert shown["errors"] == "1,00025.0 %"
    assert shown["imbalance"] == "1.33 ×2 backends"
    assert shown["received"].startswith("5.00 kB/s")


def test_errors_stand_out_if_there_are_any() -> None:
    (bad,) = page(result(tally(failures={"x": 1}))).all("div", "bad")
    assert bad.all("dt")[0].text == "errors"
    assert page(result()).all("div", "bad") == []


def test_an_empty_run_has_a_page_without_charts() -> None:
    root = page(empty())
    assert root.all("svg") == []
    assert "Interrupted: 0 s of 1 s were measured." in root.text
    assert cards(root)["latency p50"] == "–"


def test_the_tables_have_what_was_measured_and_what_was_asked_for() -> None:
    total = tally([2.0] * 4, {"a": 4}, {"refused": 1}, connect=times([0.5]))
    root = page(result(total, backends=["b"], job=job(rate=2000.0)))
    assert ["p50", "2.00 ms", "501 µs"] in table(root, "Percentiles")
    assert table(root, "Backends")[1] == ["b", "0", "0", "0 %"]
    assert table(root, "Failures by cause") == [["refused", "1"]]
    settings = dict(table(root, "What was asked for"))
    assert settings["rate (requests/s)"] == "2,000"
    assert settings["requests at most"] == "–"


def test_chaos_has_its_outages_and_events() -> None:
    root = page(with_chaos())
    assert table(root, "Outages") == [
        ["b", "1.25 s", "62.0 ms", "2.5 s", "500 ms", "2", "30"],
    ]
    assert [row[1] for row in table(root, "Events")] == [
        "killed",
        "ejected",
        "restarted",
        "returned",
    ]
    assert table(root, "Second by second")[1][-1] == "30"


def test_a_set_has_an_overview_that_leads_to_each_run() -> None:
    root = page(result(name="first"), result(name="second"))
    assert [row[0] for row in table(root, "Runs")] == ["first", "second"]
    targets = {node.attributes["href"].removeprefix("#") for node in root.all("a")}
    assert targets == {node.attributes["id"] for node in root.all("h2")}


def test_a_comparison_has_its_ratios_and_its_runs_folded() -> None:
    root = read(compared())
    measures = table(root, "Measures")
    assert measures[0] == ["requests/s (more is better)", "a", "10.0", "–"]
    assert measures[3][3] == "2.00"
    runs = [node.text for node in root.all("summary", "run")]
    assert runs == ["a, round 1", "b, round 1", "a, round 2", "b, round 2"]
    ratio = chart(root, "Ratio to a")
    assert [title.text for title in ratio.all("title")][:2] == [
        "requests/s: 1.00",
        "latency p50: 2.00",
    ]

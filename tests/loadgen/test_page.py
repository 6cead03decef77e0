from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.loadgen import comparison
from tcplb.loadgen.comparison import Comparison
from tcplb.loadgen.page import to_html
from tcplb.loadgen.report import to_report
from tcplb.loadgen.result import Chaos, ChaosEvent, RunResult, Second
from tcplb.loadgen.tally import Tally
from tests.loadgen.results import (
    RUN_RESULTS,
    empty,
    from_seconds,
    job,
    quick,
    result,
    tally,
    times,
    with_chaos,
)

EVIL = "<script>alert('1')</script>\"&amp;"


@dataclass
class Node:
    tag: str
    attributes: dict[str, str]
    children: list[Node | str] = field(default_factory=list)

    def all(self, tag: str, kind: str | None = None) -> list[Node]:
        """What is below of this tag (and class), in the order of the page."""
        return [
            node
            for node in self
            if node.tag == tag
            and (kind is None or kind in node.attributes.get("class", "").split())
        ]

    @property
    def text(self) -> str:
        return "".join(
            child if isinstance(child, str) else child.text for child in self.children
        ).strip()

    def __iter__(self) -> Iterator[Node]:
        for child in self.children:
            if isinstance(child, Node):
                yield child
                yield from child


class Reader(HTMLParser):
    """Reads a page into nodes, and takes no end tag that is missing, or too many."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Node("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        node = Node(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(node)
        if tag != "meta":
            self._open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)

    def close(self) -> None:
        super().close()
        assert self._open == [self.root]


def read(written: str) -> Node:
    reader = Reader()
    reader.feed(written)
    reader.close()
    return reader.root


def page(*results: RunResult) -> Node:
    return read(to_html([to_report(each) for each in results]))


def compared() -> str:
    rounds = [
        [result(tally([scale * 1.0] * 10), name="a"), result(tally([scale * 2.0] * 10), name="b")]
        for scale in (1, 4)
    ]
    report = comparison.to_report(Comparison(rounds))
    return to_html(report["runs"], report)


def chart(root: Node, title: str) -> Node:
    """The SVG under this title."""
    (found,) = [
        figure for figure in root.all("figure") if figure.all("figcaption")[0].text == title
    ]
    return found.all("svg")[0]


def table(root: Node, caption: str) -> list[list[str]]:
    """The cells of the rows of the table with this caption."""
    (found,) = [node for node in root.all("table") if node.all("caption")[0].text == caption]
    return [
        [cell.text for cell in row if cell.tag in {"td", "th"}]
        for row in found.all("tbody")[0].all("tr")
    ]


def titles(root: Node) -> list[str]:
    return [node.text for svg in root.all("svg") for node in svg.all("title")]


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
    assert {node.tag for node in root}.isdisjoint({"script"})
    assert not re.search(r"\b(nan|inf)\b", " ".join(str(n.attributes) for n in root.all("svg")[:0]))
    written.encode("utf-8")


@given(st.lists(st.tuples(RUN_RESULTS, RUN_RESULTS), min_size=1, max_size=2))
@quick
def test_any_comparison_is_a_well_formed_page(made: list[tuple[RunResult, RunResult]]) -> None:
    rounds = [[_named(one, "a"), _named(other, EVIL)] for one, other in made]
    report = comparison.to_report(Comparison(rounds))
    assert read(to_html(report["runs"], report)).all("script") == []


def _named(made: RunResult, name: str) -> RunResult:
    from dataclasses import replace

    return replace(made, name=name)


def test_what_comes_from_outside_is_text() -> None:
    chaos = Chaos([ChaosEvent(0.5, "killed", EVIL, EVIL)], [], {})
    total = tally([1.0], {EVIL: 1}, {EVIL: 1})
    root = page(result(total, name=EVIL, chaos=chaos))
    assert root.all("script") == []
    assert root.all("h1")[0].text == f"tcplb bench: {EVIL}"
    assert table(root, "Backends")[0][0] == EVIL
    assert table(root, "Failures by cause")[0][0] == EVIL
    assert f"0.5 s: {EVIL}" in titles(root)


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


# -- charts -----------------------------------------------------------------------------------


def test_the_chart_of_rates_has_a_point_a_second() -> None:
    seconds = [Second(number, tally([1.0] * (10 + number))) for number in range(-1, 3)]
    drawn = chart(
        page(from_seconds(seconds, job=job(warmup=1.0))), "Requests and errors per second"
    )
    (line,) = drawn.all("polyline", "requests")
    heights = [float(point.split(",")[1]) for point in line.attributes["points"].split()]
    assert len(heights) == 4
    assert heights == sorted(heights, reverse=True)
    assert [node.text.partition(" req")[0] for node in drawn.all("title")] == [
        "second -1: 9.00",
        "second 0: 10.0",
        "second 1: 11.0",
        "second 2: 12.0",
    ]


def test_the_rate_of_a_short_last_second_is_over_its_length_and_of_a_tiny_one_is_not_shown() -> (
    None
):
    whole, half, tiny = (Second(n, tally([1.0] * count)) for n, count in enumerate((10, 5, 1)))
    drawn = page(from_seconds([whole, half], seconds=1.5))
    assert [row[2] for row in table(drawn, "Second by second")] == ["10.0", "10.0"]
    drawn = page(from_seconds([whole, Second(1, tiny.tally)], seconds=1.01))
    assert [row[2] for row in table(drawn, "Second by second")] == ["10.0"]


def test_a_second_without_an_answer_is_a_gap_in_the_latency() -> None:
    tallies = [tally([1.0]), tally([1.0]), Tally(), tally([1.0])]
    seconds = [Second(number, each) for number, each in enumerate(tallies)]
    drawn = chart(page(from_seconds(seconds)), "Latency of requests")
    assert len(drawn.all("polyline", "p99")) == 1
    assert len(drawn.all("circle", "p99")) == 1


def test_one_error_among_many_requests_can_be_seen() -> None:
    total = tally(requests=1_000_000, failures={"x": 1})
    drawn = chart(page(result(total)), "Requests and errors per second")
    (column,) = drawn.all("rect", "errors")
    assert float(column.attributes["height"]) >= 3


def test_events_are_marked_in_their_colours_where_they_happened() -> None:
    drawn = chart(page(with_chaos()), "Latency of requests")
    marks = drawn.all("g", "mark")
    assert [mark.attributes["class"] for mark in marks] == [
        "mark killed",
        "mark ejected",
        "mark restarted",
        "mark returned",
    ]
    assert [mark.all("text")[0].text for mark in marks][:2] == ["killed b", "ejected b"]
    places = [float(mark.all("line")[0].attributes["x1"]) for mark in marks]
    assert places == sorted(places)
    # 1.25 s of 5 s, in a plot from 64 to 546.
    assert places[0] == pytest.approx(64 + 482 / 4, abs=0.1)


def test_labels_of_events_do_not_overlap_and_those_without_room_are_left_out() -> None:
    events = [ChaosEvent(0.5 + n / 1000, "killed", "backend", f"event {n}") for n in range(6)]
    seconds = [Second(number, tally([1.0], {"a": 1})) for number in range(9)]
    drawn = chart(
        page(from_seconds(seconds, chaos=Chaos(events, [], {}))), "Requests and errors per second"
    )
    marks = drawn.all("g", "mark")
    heights = [mark.all("text")[0].attributes["y"] for mark in marks if mark.all("text")]
    assert len(marks) == 6
    assert len(heights) == len(set(heights)) == 4
    assert [mark.all("title")[0].text[-7:] for mark in marks] == [f"event {n}" for n in range(6)]


def test_shares_are_stacked_to_the_whole() -> None:
    seconds = [Second(0, tally([1.0] * 4, {"a": 3, "b": 1})), Second(1, Tally())]
    drawn = chart(page(from_seconds(seconds)), "Share of each backend")
    columns = [node for node in drawn.all("rect") if "hover" not in node.attributes["class"]]
    heights = {node.attributes["class"]: float(node.attributes["height"]) for node in columns}
    assert heights == {"series-0": pytest.approx(142.5), "series-1": pytest.approx(47.5)}


def test_the_busiest_backends_have_a_colour_and_the_others_share_one() -> None:
    backends = {f"b{number:02}": 100 - number for number in range(12)}
    figure = next(
        node
        for node in page(result(tally([1.0] * 1134, backends))).all("figure")
        if node.all("figcaption")[0].text == "Share of each backend"
    )
    legend = [node.text for node in figure.all("li")]
    assert legend == [f"b{number:02}" for number in range(8)] + ["all others"]


def test_of_very_many_backends_the_ends_are_drawn_and_the_table_has_all() -> None:
    backends = {f"b{number:03}": 1 + number for number in range(100)}
    root = page(result(tally([1.0], backends)))
    names = [
        bar.text.partition(":")[0] for bar in chart(root, "Requests of each backend").all("title")
    ]
    assert names == [f"b{n:03}" for n in range(99, 79, -1)] + [
        f"b{n:03}" for n in range(19, -1, -1)
    ]
    assert len(table(root, "Backends")) == 100


def test_a_long_run_has_several_seconds_to_a_point() -> None:
    seconds = [
        Second(number, tally([1.0, 50.0 if number == 7 else 2.0], {"a": 2}))
        for number in range(600)
    ]
    root = page(from_seconds(seconds))
    rows = table(root, "Second by second")
    assert len(rows) == 120
    assert rows[1] == ["seconds 5 to 9", "10", "2.00", "0", "0", "1.00 ms", "50.1 ms"]
    assert "Each point stands for 5 seconds" in root.text


def test_each_nine_of_the_percentiles_takes_the_same_room() -> None:
    drawn = chart(page(result(tally([1.0] * 10_000))), "Latency by percentile")
    places = {
        node.text: float(node.attributes["x"]) for node in drawn.all("text") if "%" in node.text
    }
    assert list(places) == ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"]
    gaps = [places["99 %"] - places["90 %"], places["99.9 %"] - places["99 %"]]
    assert gaps[0] == pytest.approx(gaps[1], abs=0.2)
    assert places["99.99 %"] == 546


def test_axes_begin_at_0_and_reach_the_highest_value() -> None:
    def labels(ms: float) -> Any:
        drawn = chart(page(result(tally([ms]))), "Latency by percentile")
        return [node.text for node in drawn.all("text") if node.attributes["text-anchor"] == "end"]

    assert labels(0.5) == ["0", "200", "400", "600"]
    assert labels(0.9) == ["0", "500", "1,000"]
    assert labels(7.0) == ["0", "2", "4", "6", "8"]
    assert labels(0.0) == ["0", "0.5", "1", "1.5", "2"] or labels(0.0)[0] == "0"

"""What is drawn is what was measured."""

from __future__ import annotations

import pytest

from tcplb.loadgen.result import Chaos, ChaosEvent
from tcplb.loadgen.tally import Tally
from tests.loadgen.reports.pages import chart, page, table
from tests.loadgen.reports.results import (
    Part,
    from_seconds,
    job,
    result,
    tally,
    with_chaos,
)


def test_the_chart_of_rates_has_a_point_a_second() -> None:
    seconds = [Part(number, tally([1.0] * (10 + number))) for number in range(-1, 3)]
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


def test_a_short_last_second_has_its_own_rate_and_a_tiny_one_is_not_shown() -> None:
    whole, half, tiny = (Part(n, tally([1.0] * count)) for n, count in enumerate((10, 5, 1)))
    drawn = page(from_seconds([whole, half], seconds=1.5))
    assert [row[2] for row in table(drawn, "Second by second")] == ["10.0", "10.0"]
    drawn = page(from_seconds([whole, Part(1, tiny.tally)], seconds=1.01))
    assert [row[2] for row in table(drawn, "Second by second")] == ["10.0"]


def test_a_second_without_an_answer_is_a_gap_in_the_latency() -> None:
    tallies = [tally([1.0]), tally([1.0]), Tally(), tally([1.0])]
    seconds = [Part(number, each) for number, each in enumerate(tallies)]
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
    seconds = [Part(number, tally([1.0], {"a": 1})) for number in range(9)]
    drawn = chart(
        page(from_seconds(seconds, chaos=Chaos(events, [], {}))), "Requests and errors per second"
    )
    marks = drawn.all("g", "mark")
    heights = [mark.all("text")[0].attributes["y"] for mark in marks if mark.all("text")]
    assert len(marks) == 6
    assert len(heights) == len(set(heights)) == 4
    assert [mark.all("title")[0].text[-7:] for mark in marks] == [f"event {n}" for n in range(6)]


def test_shares_are_stacked_to_the_whole() -> None:
    seconds = [Part(0, tally([1.0] * 4, {"a": 3, "b": 1})), Part(1, Tally())]
    drawn = chart(page(from_seconds(seconds)), "Share of each backend")
    columns = [node for node in drawn.all("rect") if "hover" not in node.attributes["class"]]
    heights = {node.attributes["class"]: float(node.attributes["height"]) for node in columns}
    assert heights == {"series-0": pytest.approx(142.5), "series-1": pytest.approx(47.5)}
    below, above = columns
    assert float(above.attributes["y"]) + 47.5 == pytest.approx(float(below.attributes["y"]))


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
        Part(number, tally([1.0, 50.0 if number == 7 else 2.0], {"a": 2})) for number in range(600)
    ]
    root = page(from_seconds(seconds))
    rows = table(root, "Second by second")
    assert len(rows) == 120
    assert rows[1] == ["seconds 5 to 9", "10", "2.00", "0", "0", "1.00 ms", "49.9 ms"]
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
    (line,) = drawn.all("polyline", "latency")
    points = [float(point.split(",")[0]) for point in line.attributes["points"].split()]
    assert points[0] == 64
    # 0, 10, ... 80 %, then 9 steps for each nine.
    drawn_at = [points[9], points[18], points[27]]
    assert drawn_at == pytest.approx([places["90 %"], places["99 %"], places["99.9 %"]], abs=0.1)


def test_axes_begin_at_0_and_reach_the_highest_value() -> None:
    def labels(ms: float) -> list[str]:
        drawn = chart(page(result(tally([ms]))), "Latency by percentile")
        return [node.text for node in drawn.all("text") if node.attributes["text-anchor"] == "end"]

    assert labels(0.5) == ["0", "200", "400", "600"]
    assert labels(0.9) == ["0", "500", "1,000"]
    assert labels(7.0) == ["0", "2", "4", "6", "8"]
    assert labels(0.0) == ["0", "0.5", "1", "1.5", "2"]

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import expect

from tests.control.admin.fake import FakeControl
from tests.e2e.dashboard.page import (
    MARKS,
    UNANSWERED,
    Open,
    banners,
    button,
    expect_soon,
    fail,
    hold,
    row,
)
from tests.e2e.dashboard.pictures import show
from tests.e2e.dashboard.stage import Stage

pytestmark = MARKS


def test_shows_how_the_balancer_is(stage: Stage, visit: Open) -> None:
    # Who waits has no backend yet, but is one of those that are connected.
    stage.do(lambda control: setattr(control, "waiting", 3))
    page = visit()

    status = page.get_by_role("banner")
    expect(status).to_contain_text("0.0.0")
    expect(status).to_contain_text("serving")
    expect(status).to_contain_text("2 of 2 ready")
    expect(status).to_contain_text("3 of 10,000")
    expect(page.get_by_role("table", name="Workers")).to_contain_text("5001")
    expect(page.get_by_role("table", name="Listeners")).to_contain_text("127.0.0.1:9090")
    expect(banners(page)).to_have_text("")


def test_shows_what_a_pool_does_with_keys_and_weights(stage: Stage, visit: Open) -> None:
    stage.do(lambda control: setattr(control.by_pool["web"]["b1"], "weight", 5))
    page = visit()

    pool = page.get_by_role("article", name="Pool web")
    expect(pool).to_contain_text("hash")
    expect(pool).to_contain_text(stage.do(lambda control: control.pools()[0].fingerprint))
    # One of 5 + 3 weights, but each backend gets the same connections.
    expect(row(page, "b1")).to_contain_text(re.compile(r"weight\s*62\.5 %\s*traffic\s*25\.0 %"))
    expect(row(page, "b1")).to_contain_text(re.compile(r"keys\s*62\.5 %"))
    expect(row(page, "[::1]:5432")).not_to_contain_text("keys")


def test_shows_the_figures_of_each_second(visit: Open) -> None:
    page = visit()

    cells = row(page, "b1").get_by_role("cell")
    expect(cells.nth(2)).to_have_text("10")
    expect(cells.nth(4)).to_have_text(re.compile(r"^1(\.00)? ms$"))  # it is a quotient
    expect(cells.nth(5)).to_have_text("10 kB")


def test_shows_that_a_backend_goes_down_and_why(stage: Stage, visit: Open) -> None:
    page = visit()
    expect(row(page, "b2")).to_contain_text("up")

    name = expect_soon(
        page, ("b2", "b3", "b4"), lambda name: stage.do(lambda control: fail(control, name))
    )

    expect(row(page, name)).to_contain_text("its checks fail: connection refused")
    expect(page.get_by_role("article", name="Pool web")).to_contain_text("of 4 usable")
    # And a screen reader is told.
    told = f"backend {name} of pool web is down"
    expect(page.locator("[aria-live=polite]").first).to_have_text(told)
    expect(page.get_by_role("region", name="Events")).to_contain_text(told)


@pytest.mark.parametrize("ahead", [0, 0.5])
def test_events_are_lines_in_the_charts(stage: Stage, visit: Open, ahead: float) -> None:
    page = visit()
    stage.hold_figures()
    stage.do(lambda control: fail_later(control, ahead))

    page.wait_for_function(IS_DRAWN, arg=["Open connections", ".plot", "outlineColor", 20])


def test_a_second_with_connects_between_quiet_ones_is_a_point(stage: Stage, visit: Open) -> None:
    page = visit()
    stage.hold_figures()
    show(page, stage.do(connect_in_one_second))

    page.wait_for_function(IS_DRAWN, arg=["Time to connect", ".ink", "backgroundColor", 4])


IS_DRAWN = """([title, element, property, pixels]) => {
  const chart = document.querySelector(`[role=img][aria-label^="${title}"]`).closest(".chart");
  const wanted = getComputedStyle(chart.querySelector(element))[property];
  const [r, g, b] = wanted.match(/\\d+/g).map(Number);
  const canvas = chart.querySelector("canvas");
  const { width, height } = canvas;
  // A copy, because Chromium warns of canvases of the page's that are read again and again.
  const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  const near = (at) => Math.abs(data[at] - r) + Math.abs(data[at + 1] - g)
      + Math.abs(data[at + 2] - b) < 60 && data[at + 3] > 60;
  const places = Array.from({ length: data.length / 4 }, (_, at) => at * 4);
  return places.filter(near).length > pixels;
}"""


def connect_in_one_second(control: FakeControl) -> list[dict[str, Any]]:
    past = []
    for second in range(9):
        control.now += 1
        control.by_pool["web"]["b1"].connections += second == 4
        past.append(control.stats().model_dump())
    return past


def fail_later(control: FakeControl, seconds: float) -> None:
    """Fail at a time that the figures have not come to."""
    control.now += seconds
    fail(control)
    control.now -= seconds


def test_the_event_under_the_pointer_is_told(stage: Stage, visit: Open) -> None:
    page = visit()
    # Two seconds are known: there is a line to point at.
    expect(row(page, "b1").get_by_role("cell").nth(2)).to_have_text("10")
    stage.hold_figures()
    stage.do(fail)
    overview = page.get_by_role("region", name="The last 5 minutes")
    expect(overview).to_contain_text("Dashed lines are events")

    plot = page.get_by_role("img", name="Open connections").locator(".u-over")
    width = plot.evaluate("(element) => element.clientWidth")
    plot.hover(position={"x": width - 3, "y": 20})

    expect(overview).to_contain_text("backend b2 of pool web is down")


def test_a_storm_of_events_is_no_storm_of_requests(stage: Stage, visit: Open) -> None:
    page = visit()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    def storm(control: FakeControl) -> None:
        for number in range(200):
            control.event("health", f"event {number} of many", "web", "b1")

    with page.expect_request("**/pools"):
        stage.do(storm)

    expect(page.get_by_role("region", name="Events")).to_contain_text("event 199 of many")
    fail_after = "backend b2 of pool web is down"
    stage.do(fail)
    expect(page.get_by_role("region", name="Events")).to_contain_text(fail_after)
    assert len([url for url in asked if url.endswith("/pools")]) < 20


def test_searches_filters_and_orders(stage: Stage, visit: Open) -> None:
    page = visit()
    names = page.get_by_role("button", name=re.compile("^Details of "))
    stage.do(fail)
    expect(row(page, "b2")).to_contain_text("down")

    page.get_by_label("Show").select_option("in trouble")
    expect(names).to_have_text(["b2"])
    page.get_by_label("Show").select_option("all")
    page.get_by_label("Order").select_option("state, worst first")
    expect(names).to_have_text(["b2", "b1", "b3", "b4", "[::1]:5432", "[::1]:5433"])
    page.get_by_label("Search").fill("127.0.0.4")
    expect(names).to_have_text(["b3"])
    page.get_by_label("Search").fill("nowhere")
    expect(page.get_by_role("region", name="Pools and backends")).to_contain_text("Nothing is like")


def test_rows_stay_where_they_are_while_somebody_points_at_them(stage: Stage, visit: Open) -> None:
    page = visit()
    page.get_by_label("Order").select_option("state, worst first")
    names = page.get_by_role("article", name="Pool web").get_by_role(
        "button", name=re.compile("^Details of ")
    )
    expect(names).to_have_text(["b1", "b2", "b3", "b4"])
    button(page, "Drain b1").hover()

    stage.do(fail)
    expect(row(page, "b2")).to_contain_text("its checks fail")
    expect(names).to_have_text(["b1", "b2", "b3", "b4"])
    page.mouse.move(0, 0)

    expect(names).to_have_text(["b2", "b1", "b3", "b4"])


def test_says_that_the_connection_is_lost_and_comes_back(stage: Stage, visit: Open) -> None:
    page = visit(allow=UNANSWERED)

    stage.stop_server()
    lost = banners(page)
    expect(lost).to_contain_text("Connection lost")
    stage.do(fail)
    stage.start_server()

    expect(lost).to_have_text("")
    expect(row(page, "b2")).to_contain_text("its checks fail")
    expect(page.get_by_role("region", name="Events")).to_contain_text("b2 of pool web is down")


def test_a_stream_that_says_nothing_is_a_lost_connection(visit: Open) -> None:
    page = visit(allow=UNANSWERED)
    page.route("**/stats/stream", hold)
    page.reload()

    expect(banners(page)).to_contain_text("Connection lost")

    page.unroute("**/stats/stream")
    expect(banners(page)).to_have_text("")

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import Browser, Page, expect

from tests.e2e.dashboard.page import (
    MARKS,
    Open,
    expect_soon,
    fail,
    row,
)
from tests.e2e.dashboard.pictures import Story, show
from tests.e2e.dashboard.stage import Stage, Watched

pytestmark = MARKS


@pytest.mark.parametrize("width", [1280, 360])
def test_a_thousand_backends(visits: list[Watched], visit: Open, width: int) -> None:
    with Stage(backends=1000) as many:
        page = visit(of=many, viewport={"width": width, "height": 800})
        pool = page.get_by_role("article", name="Pool web")
        expect(pool).to_contain_text("1,000 of 1,000 usable")
        rows = pool.get_by_role("row")
        assert rows.count() < 60

        table = pool.get_by_role("region", name="Backends of web")
        table.scroll_into_view_if_needed()
        table.evaluate("(element) => element.scrollTo(0, element.scrollHeight / 2)")
        expect(row(page, "b502")).to_be_in_viewport()
        table.evaluate("(element) => element.scrollTo(0, element.scrollHeight)")
        expect(row(page, "b1000")).to_be_visible()
        assert rows.count() < 60
        assert row(page, "b1000").get_attribute("aria-rowindex") == "1001"

        page.get_by_label("Search").fill("b77")
        expect(row(page, "b777")).to_be_visible()
        expect(rows).to_have_count(12)
        expect_soon(
            page,
            ("b777", "b778", "b779"),
            lambda name: many.do(lambda control: fail(control, name)),
        )

        page.get_by_label("Search").fill("")
        spent = wait_for_timings(page, 4)
        visits.pop().close()
    print(f"per second with 1,000 backends: {spent}")  # noqa: T201 - for who measures


def wait_for_timings(page: Page, number: int) -> dict[str, float]:
    """The median and the worst of the page's own work for a second, in ms."""
    found: dict[str, float] = page.evaluate(
        """async (number) => {
          const { timings } = await import("/static/timing.js");
          for (const each of Object.values(timings)) each.length = 0;
          while (timings.figures.length < number) await new Promise(requestAnimationFrame);
          const summary = {};
          for (const [kind, all] of Object.entries(timings)) {
            const sorted = [...all].sort((one, other) => one - other);
            summary[`${kind} median`] = sorted[sorted.length >> 1];
            summary[`${kind} worst`] = sorted.at(-1);
          }
          return summary;
        }""",
        number,
    )
    return found


PICTURES = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 1300}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 1300}},
    "phone": {"color_scheme": "light", "viewport": {"width": 360, "height": 740}},
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(browser: Browser, visits: list[Watched], name: str, tmp_path: Path) -> None:
    story = Story()
    with Stage() as stage:
        past = stage.do(story.tell)
        watched = Watched(browser, stage.url, **PICTURES[name])
        visits.append(watched)
        watched.page.goto("/")
        expect(row(watched.page, "api-1")).to_be_visible()
        show(watched.page, past)
        expect(watched.page.get_by_role("article", name="Pool web")).to_contain_text("usable")

        picture = watched.page.screenshot(path=tmp_path / f"{name}.png")
        visits.pop().close()

    assert picture.startswith(b"\x89PNG")
    keep = os.environ.get("TCPLB_SCREENSHOTS")
    if keep and name == "light":
        Path(keep, "dashboard.png").write_bytes(picture)

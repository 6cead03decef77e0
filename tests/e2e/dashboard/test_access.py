from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import Locator, Page, expect

from tests.control.admin.fake import FakeControl
from tests.e2e.dashboard.page import (
    MARKS,
    Open,
    banners,
    button,
    dialog,
    fail,
    row,
)
from tests.e2e.dashboard.stage import TOKEN, Stage, Watched

pytestmark = MARKS


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_is_the_systems_until_one_is_chosen(visit: Open, scheme: str) -> None:
    page = visit(color_scheme=scheme)
    assert is_dark(page) == (scheme == "dark")

    other = "dark" if scheme == "light" else "light"
    page.get_by_label("Theme").select_option(other)
    assert is_dark(page) == (other == "dark")
    page.reload()

    expect(row(page, "b1")).to_be_visible()
    assert is_dark(page) == (other == "dark")
    page.get_by_label("Theme").select_option("system")
    assert is_dark(page) == (scheme == "dark")


def is_dark(page: Page) -> bool:
    colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in re.findall(r"\d+", colour)[:3]) < 200


CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (rgb) => rgb.slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
      .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (element) => {
    for (let each = element; each !== null; each = each.parentElement) {
      const colour = rgba(getComputedStyle(each).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const ratio = (element) => {
    const [light, dark] = [rgba(getComputedStyle(element).color), behind(element)]
        .map(luminance).sort((one, other) => other - one);
    return (light + 0.05) / (dark + 0.05);
  };
  const ownText = (element) => [...element.childNodes].some(
      (node) => node.nodeType === Node.TEXT_NODE && node.data.trim() !== "");
  return [...document.querySelectorAll("#app *")]
      .filter((each) => ownText(each) && !each.matches(":disabled") && each.getClientRects().length)
      .map((each) => [ratio(each), each.textContent.trim().slice(0, 40)])
      .filter(([found]) => found < 4.5);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_enough_contrast(stage: Stage, visit: Open, scheme: str) -> None:
    stage.do(fail)
    stage.do(lambda control: setattr(control.by_pool["web"]["b3"], "passive", "on trial"))
    stage.do(lambda control: setattr(control.by_pool["web"]["b4"], "mode", "disabled"))
    stage.do(lambda control: setattr(control, "last_reload_error", "no such file"))
    page = visit(color_scheme=scheme)
    expect(banners(page)).to_contain_text("no such file")
    assert page.evaluate(CONTRAST) == []

    button(page, "More of b1").click()
    button(page, "Remove…").click()
    expect(dialog(page, "Remove b1 from web?")).to_be_visible()

    assert page.evaluate(CONTRAST) == []


def test_a_drain_by_keyboard_alone(stage: Stage, visit: Open) -> None:
    page = visit()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")

    press_until(page, "Tab", button(page, "Drain b1"))
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_label("Close what is left after")).to_be_focused()
    page.keyboard.type("30s")
    page.keyboard.press("Enter")
    expect(page.get_by_role("textbox", name="Token")).to_be_focused()
    page.keyboard.type(TOKEN)
    page.keyboard.press("Enter")

    expect(row(page, "b1")).to_contain_text("draining")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button(page, "Enable b1")).to_be_focused()


def press_until(page: Page, key: str, wanted: Locator) -> None:
    for _ in range(60):
        page.keyboard.press(key)
        if wanted.evaluate("(element) => element === document.activeElement"):
            return
    pytest.fail("it cannot be reached by the keyboard")


def test_typing_outlives_the_figures_of_a_second(stage: Stage, visit: Open) -> None:
    page = visit()
    button(page, "Weight 1 of b1").click()
    field = dialog(page, "Weight of b1").get_by_label("New weight")
    field.fill("42")

    stage.do(fail)
    expect(page.locator("[aria-live=polite]").first).to_have_text("backend b2 of pool web is down")

    expect(field).to_have_value("42")
    expect(field).to_be_focused()


@pytest.mark.parametrize("width", [360, 800])
def test_a_narrow_window_is_not_scrolled_sideways(
    stage: Stage, visit: Open, width: int, visits: list[Watched]
) -> None:
    long = "a-backend-with-quite-a-long-name.of-some.internal.example.org:54321"
    stage.do(lambda control: rename(control, "b4", long))
    stage.do(fail)
    page = visit(viewport={"width": width, "height": 740})
    expect(row(page, long)).to_be_visible()
    page.get_by_role("region", name="Sessions").scroll_into_view_if_needed()
    expect(page.get_by_role("region", name="Sessions")).to_contain_text("12 of 12")
    assert is_within(page)

    button(page, f"More of {long}").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert is_within(page)
    assert page.get_by_role("dialog").evaluate("(each) => each.scrollWidth <= each.clientWidth")


@pytest.mark.parametrize("width", [360, 800, 1000, 1240, 1400])
def test_the_state_of_a_backend_can_be_read_at_any_width(visit: Open, width: int) -> None:
    page = visit(viewport={"width": width, "height": 740})

    state = row(page, "b1").get_by_role("cell").first

    assert state.evaluate("(cell) => cell.clientWidth") >= 150
    overflown = "(cells) => cells.filter((each) => each.scrollWidth > each.clientWidth + 1).length"
    assert page.get_by_role("cell").evaluate_all(overflown) == 0


def rename(control: FakeControl, old: str, new: str) -> None:
    members = control.by_pool["web"]
    members[new] = replace(members.pop(old), name=new, address=new)


def is_within(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


NAMELESS = """() => [...document.querySelectorAll(
    "button, input, select, a, progress, dialog, [role=img], [role=region]")]
  .filter((each) => each.getClientRects().length > 0)
  .filter((each) => !(each.ariaLabel || each.labels?.length || each.textContent.trim()
      || each.getAttribute("aria-labelledby")))
  .map((each) => each.outerHTML)"""


MISNAMED = """() => [...document.querySelectorAll("button[aria-label]")]
  .filter((each) => !each.ariaLabel.includes(each.textContent.trim().replace("…", "")))
  .map((each) => each.outerHTML)"""


def test_every_control_has_a_name(stage: Stage, visit: Open) -> None:
    page = visit()
    page.get_by_role("region", name="Sessions").scroll_into_view_if_needed()
    expect(page.get_by_role("region", name="Sessions")).to_contain_text("12 of 12")
    assert nameless(page) == []
    assert page.evaluate(NAMELESS) == []
    # Who speaks to the page says what is to be read there.
    assert page.evaluate(MISNAMED) == []

    button(page, "More of b1").click()
    button(page, "Weight…").click()
    expect(dialog(page, "Weight of b1").get_by_label("New weight")).to_be_focused()

    assert nameless(page) == []
    assert page.evaluate(NAMELESS) == []


CONTROLS = {
    "button", "link", "textbox", "searchbox", "combobox", "checkbox", "spinbutton", "dialog",
    "progressbar", "table", "region", "navigation", "img", "article", "search", "columnheader",
    "rowheader",
}  # fmt: skip


def nameless(page: Page) -> list[str]:
    """The controls without a name in the tree that Chromium gives to screen readers."""
    client = page.context.new_cdp_session(page)
    nodes = client.send("Accessibility.getFullAXTree")["nodes"]
    client.detach()
    shown = [each for each in nodes if not each["ignored"]]
    roles = {each["role"]["value"] for each in shown}
    assert roles & {"combobox", "spinbutton"}, "this is no tree of the page"
    return [
        each["role"]["value"]
        for each in shown
        if each["role"]["value"] in CONTROLS and not each.get("name", {}).get("value", "").strip()
    ]


def test_the_page_has_landmarks_and_headings_in_order(visit: Open) -> None:
    page = visit()

    for role in ("banner", "main", "navigation"):
        expect(page.get_by_role(role)).to_have_count(1)
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4')].map((each) => Number(each.tagName[1]))"
    )
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert page.evaluate("document.documentElement.lang") == "en"

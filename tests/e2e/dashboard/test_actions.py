from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import expect

from tcplb.errors import ConfigError, Problem
from tests.control.admin.fake import FakeControl
from tests.e2e.dashboard.page import (
    MARKS,
    REFUSED,
    Open,
    banners,
    button,
    dialog,
    fail,
    give_token,
    hold,
    row,
)
from tests.e2e.dashboard.stage import Stage

pytestmark = MARKS


def test_a_drain_from_the_click_to_its_end(stage: Stage, visit: Open) -> None:
    stage.do(lambda control: setattr(control.by_pool["web"]["b3"], "active", 12))
    page = visit()
    before = stage.do(lambda control: control.now)

    button(page, "Drain b3").click()
    asked = dialog(page, "Drain b3?")
    asked.get_by_label("Close what is left after").fill("5m")
    asked.get_by_role("button", name="Drain", exact=True).click()
    give_token(page)

    # This one goes away by itself, so it is looked for first.
    expect(page.get_by_role("status").last).to_contain_text("b3 is draining.")
    expect(row(page, "b3")).to_contain_text("12 sessions left")
    expect(row(page, "b3")).to_contain_text(re.compile("closed at .* in (5 min|4 min)"))
    until = stage.do(lambda control: control.by_pool["web"]["b3"].drain_until_at)
    assert until is not None
    assert until >= before + 300

    stage.do(lambda control: setattr(control.by_pool["web"]["b3"], "active", 3))
    expect(row(page, "b3")).to_contain_text("3 sessions left")
    expect(row(page, "b3").get_by_role("progressbar")).to_have_attribute("value", "9")

    stage.do(lambda control: setattr(control.by_pool["web"]["b3"], "active", 0))
    expect(row(page, "b3")).to_contain_text("nothing is left")

    button(page, "Enable b3").click()
    dialog(page, "Enable b3?").get_by_role("button", name="Enable").click()
    expect(button(page, "Drain b3")).to_be_visible()


def test_a_wrong_token_is_refused_and_asked_for_again(stage: Stage, visit: Open) -> None:
    page = visit(allow=REFUSED)

    button(page, "Drain b1").click()
    dialog(page, "Drain b1?").get_by_role("button", name="Drain", exact=True).click()
    give_token(page, "not-the-right-one")
    expect(dialog(page, "The token, please")).to_contain_text("has refused this token")
    assert stage.do(lambda control: control.changed) == []

    give_token(page)

    expect(row(page, "b1")).to_contain_text("draining")
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 1]


def test_the_token_is_asked_for_once_and_can_be_forgotten(stage: Stage, visit: Open) -> None:
    page = visit()
    for name in ("b1", "b2"):
        button(page, f"Drain {name}").click()
        dialog(page, f"Drain {name}?").get_by_role("button", name="Drain", exact=True).click()
        if name == "b1":
            give_token(page)
        expect(row(page, name)).to_contain_text("draining")

    button(page, "Forget token").click()

    expect(button(page, "Enter token…")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_who_does_not_give_the_token_changes_nothing(stage: Stage, visit: Open) -> None:
    page = visit()
    button(page, "Drain b1").click()
    dialog(page, "Drain b1?").get_by_role("button", name="Drain", exact=True).click()

    dialog(page, "The token, please").get_by_role("button", name="Cancel").click()
    dialog(page, "Drain b1?").get_by_role("button", name="Cancel").click()

    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button(page, "Drain b1")).to_be_focused()
    assert stage.do(lambda control: control.changed) == []


def test_weight_add_and_remove(stage: Stage, visit: Open) -> None:
    page = visit()
    button(page, "Weight 1 of b1").click()
    asked = dialog(page, "Weight of b1")
    asked.get_by_label("New weight").fill("7")
    asked.get_by_role("button", name="Set weight").click()
    give_token(page)
    expect(button(page, "Weight 7 of b1")).to_be_visible()
    expect(row(page, "b1")).to_contain_text("changed")

    button(page, "Add a backend to db").click()
    asked = dialog(page, "Add a backend to db")
    asked.get_by_label("Backend").fill("third=127.0.0.1:5434,weight=2")
    asked.get_by_role("button", name="Add").click()
    expect(row(page, "third")).to_contain_text("127.0.0.1:5434")

    button(page, "More of third").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove…").click()
    dialog(page, "Remove third from db?").get_by_role("button", name="Remove").click()
    expect(dialog(page, "third of db")).to_contain_text("not in the pool any more")
    dialog(page, "third of db").get_by_role("button", name="Close").click()
    expect(row(page, "third")).to_have_count(0)


def test_what_the_api_refuses_is_told_and_can_be_mended(stage: Stage, visit: Open) -> None:
    page = visit(allow="status of 4")
    button(page, "Add a backend to web").click()
    asked = dialog(page, "Add a backend to web")
    asked.get_by_label("Backend").fill("b1=127.0.0.1:1")
    asked.get_by_role("button", name="Add").click()
    give_token(page)
    expect(asked.get_by_role("alert")).to_contain_text("has a backend b1 already")

    asked.get_by_label("Backend").fill("b9=127.0.0.1:1")
    asked.get_by_role("button", name="Add").click()

    expect(row(page, "b9")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_details_of_a_backend(stage: Stage, visit: Open) -> None:
    page = visit()
    stage.do(fail)

    button(page, "Details of b2").click()

    details = dialog(page, "b2 of web")
    expect(details).to_contain_text("its checks fail: connection refused")
    expect(details).to_contain_text("backend b2 of pool web is down")
    expect(details).to_contain_text("127.0.0.3:8080")
    page.keyboard.press("Escape")
    expect(details).to_have_count(0)
    expect(button(page, "Details of b2")).to_be_focused()


def test_a_reload_is_previewed_before_it_is_made(stage: Stage, visit: Open) -> None:
    page = visit()

    button(page, "Reload…").click()
    give_token(page)
    asked = dialog(page, "Reload the config file")
    expect(asked).to_contain_text("~ pools.web.strategy: round-robin → hash")
    assert stage.do(lambda control: control.reloads) == []
    asked.get_by_role("button", name="Reload", exact=True).click()

    expect(page.get_by_role("status").last).to_contain_text("Reloaded: 1 change.")
    assert stage.do(lambda control: control.reloads) == [{"discard_changes": False}]


def test_a_reload_can_forget_the_runtime_changes(stage: Stage, visit: Open) -> None:
    page = visit()
    button(page, "Drain b1").click()
    dialog(page, "Drain b1?").get_by_role("button", name="Drain", exact=True).click()
    give_token(page)
    expect(button(page, "Save changes (1)…")).to_be_enabled()

    button(page, "Reload…").click()
    asked = dialog(page, "Reload the config file")
    asked.get_by_label("Forget the runtime changes").check()
    expect(asked).to_contain_text("was dropped")
    asked.get_by_role("button", name="Reload", exact=True).click()

    expect(page.get_by_role("dialog")).to_have_count(0)
    assert stage.do(lambda control: control.reloads) == [{"discard_changes": True}]


def test_a_reload_that_fails_is_shown_until_a_good_one(stage: Stage, visit: Open) -> None:
    page = visit(allow="status of 422")
    stage.do(break_the_file)

    button(page, "Reload…").click()
    give_token(page)
    asked = dialog(page, "Reload the config file")
    told = asked.get_by_role("alert").filter(has_text="is no strategy")
    expect(told).to_contain_text("tcplb.toml:7 pools.web.strategy")
    expect(asked.get_by_role("button", name="Reload", exact=True)).to_be_disabled()
    asked.get_by_role("button", name="Cancel").click()
    expect(banners(page)).to_contain_text("The last reload failed")
    expect(banners(page)).to_contain_text("is no strategy")

    stage.do(mend_the_file)

    expect(banners(page)).to_have_text("")


def break_the_file(control: FakeControl) -> None:
    control.reload_error = ConfigError(
        [Problem("tcplb.toml:7", "pools.web.strategy", "'hsah' is no strategy")]
    )


def mend_the_file(control: FakeControl) -> None:
    control.reload_error = control.last_reload_error = None
    control.event("reload", "the configuration was reloaded")


def test_runtime_changes_are_saved(stage: Stage, visit: Open) -> None:
    page = visit()
    expect(button(page, "Save changes…")).to_be_disabled()
    button(page, "Drain b1").click()
    dialog(page, "Drain b1?").get_by_role("button", name="Drain", exact=True).click()
    give_token(page)

    button(page, "Save changes (1)…").click()
    asked = dialog(page, "Save the runtime changes?")
    expect(asked).to_contain_text("b1")
    asked.get_by_role("button", name="Save").click()

    expect(button(page, "Save changes…")).to_be_disabled()
    assert stage.do(lambda control: control.changed) == []


def test_sessions_are_filtered_paged_and_closed(stage: Stage, visit: Open) -> None:
    stage.do(lambda control: open_sessions(control, 120))
    page = visit(allow="status of 400")
    sessions = page.get_by_role("region", name="Sessions")
    sessions.scroll_into_view_if_needed()
    expect(sessions).to_contain_text("1 to 50 of 120 sessions")
    expect(button(page, "Previous page of sessions")).to_be_disabled()

    button(page, "Next page of sessions").click()
    expect(sessions).to_contain_text("51 to 100 of 120 sessions")
    expect(button(page, "Close session 9-50")).to_be_visible()
    expect(button(page, "Close session 9-0")).to_have_count(0)
    button(page, "Previous page of sessions").click()
    expect(button(page, "Close session 9-0")).to_be_visible()
    button(page, "Next page of sessions").click()
    button(page, "Next page of sessions").click()
    expect(sessions).to_contain_text("101 to 120 of 120 sessions")
    expect(button(page, "Next page of sessions")).to_be_disabled()

    sessions.get_by_label("Client").fill("10.9.9.9")
    sessions.get_by_label("Backend").fill("b4")
    button(page, "Filter").click()
    expect(sessions).to_contain_text("1 to 1 of 1 session")
    button(page, "Close session 9-100").click()
    dialog(page, "Close session 9-100?").get_by_role("button", name="Close it").click()
    give_token(page)
    expect(sessions).to_contain_text("No open session is like that.")
    assert stage.do(lambda control: control.closed) == ["9-100"]

    stage.do(lambda control: control.unanswered.append(2))
    button(page, "Clear").click()
    expect(sessions).to_contain_text("1 to 50 of 119 sessions")
    expect(sessions).to_contain_text("Worker 2 has not answered")


def test_pages_are_turned_one_at_a_time(stage: Stage, visit: Open) -> None:
    stage.do(lambda control: open_sessions(control, 170))
    page = visit()
    sessions = page.get_by_role("region", name="Sessions")
    sessions.scroll_into_view_if_needed()
    expect(sessions).to_contain_text("1 to 50 of 170 sessions")
    page.route("**/sessions?*cursor=*", hold)

    button(page, "Next page of sessions").click()
    expect(button(page, "Previous page of sessions")).to_be_enabled()
    button(page, "Next page of sessions").dispatch_event("click")
    expect(sessions).to_contain_text("1 to 50 of 170 sessions")
    page.unroute("**/sessions?*cursor=*")

    expect(button(page, "Close session 9-50")).to_be_visible()
    expect(sessions).to_contain_text("51 to 100 of 170 sessions")


def open_sessions(control: FakeControl, number: int) -> None:
    one = next(iter(control.open_sessions.values()))
    control.open_sessions.clear()
    for each in range(number):
        client = "10.9.9.9:1" if each == 100 else f"10.0.0.{each}:1"
        session = one.model_copy(
            update={"id": f"9-{each}", "client": client, "backend": "b4", "pool": "web"}
        )
        control.open_sessions[session.id] = session

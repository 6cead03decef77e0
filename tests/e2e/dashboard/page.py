"""How the tests find their way on the page."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.control.admin.fake import FakeControl
from tests.e2e.dashboard.stage import CHROMIUM, TOKEN

MARKS = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.xdist_group("dashboard"),
]

expect.set_options(timeout=20_000)

SOON = 2_000  # ms
REFUSED = "status of 401"
UNANSWERED = "ERR_|Failed to fetch"

Open = Callable[..., Page]


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(
        has=page.get_by_role("button", name=f"Details of {name}", exact=True)
    )


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def banners(page: Page) -> Locator:
    """What must not be overlooked."""
    return page.locator(".banners[role=alert]")


def dialog(page: Page, title: str) -> Locator:
    return page.get_by_role("dialog", name=title)


def give_token(page: Page, token: str = TOKEN) -> None:
    asked = dialog(page, "The token, please")
    asked.get_by_label("Token").fill(token)
    asked.get_by_role("button", name="Use it").click()


def expect_soon(page: Page, names: Iterable[str], kill: Callable[[str], object]) -> str:
    """Kill these, until one is shown to be down within two seconds of that; returns which.

    A page that is too slow is so each time, and a machine that was busy just then is not.
    """
    for name in names:
        kill(name)
        with contextlib.suppress(AssertionError):
            expect(row(page, name)).to_contain_text("down", timeout=SOON)
            return name
    pytest.fail("no backend was shown to be down within two seconds")


def hold(_: Route) -> None:
    """Do not send a request before `unroute`."""


def fail(control: FakeControl, name: str = "b2") -> None:
    backend = control.by_pool["web"][name]
    backend.checked = "down"
    control.event("health", f"backend {name} of pool web is down", "web", name)

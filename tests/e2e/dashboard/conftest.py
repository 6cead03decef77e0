"""A browser, a fake balancer, and the page of that in this. Playwright may not be installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.e2e.dashboard.stage import Stage, Watched


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from tests.e2e.dashboard.stage import chromium

    with chromium() as running:
        yield running


@pytest.fixture
def stage() -> Iterator[Stage]:
    from tests.e2e.dashboard.stage import Stage

    with Stage() as running:
        yield running


@pytest.fixture
def visits() -> Iterator[list[Watched]]:
    opened: list[Watched] = []
    yield opened
    for each in opened:
        each.close()


@pytest.fixture
def visit(browser: Browser, stage: Stage, visits: list[Watched]) -> Callable[..., Page]:
    """Opens the page, in a window of its own."""
    from playwright.sync_api import expect

    from tests.e2e.dashboard.page import row
    from tests.e2e.dashboard.stage import Watched

    def open_(*, allow: str = "", of: Stage = stage, **look: Any) -> Page:
        watched = Watched(browser, of.url, **look)
        visits.append(watched)
        if allow:
            watched.allow(allow)
        watched.page.goto("/")
        expect(row(watched.page, "b1")).to_be_visible()
        # And the first figures, which say the time: what happens from now on is news.
        expect(watched.page.locator(".legend b").first).not_to_have_text("–")
        return watched.page

    return open_

"""The page of a real balancer: a backend that is killed, a drain, a file that is wrong."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import Page, expect

from tests.e2e.admin import TOKEN, Balancer, balancer_with_admin, write_config
from tests.e2e.dashboard.page import MARKS, banners, button, dialog, expect_soon, give_token, row
from tests.e2e.dashboard.stage import Watched
from tests.processes import WAIT, echo_backends, port_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = MARKS

CHECK = '[pools.web.check]\ninterval = "200ms"\nfast_interval = "100ms"\nfall = 2\nrise = 1\n'


@contextmanager
def page_of(browser: Browser, it: Balancer, *, allow: str = "") -> Iterator[Page]:
    watched = Watched(browser, f"http://{it.admin.address}")
    if allow:
        watched.allow(allow)
    watched.page.goto("/")
    expect(row(watched.page, "b1")).to_be_visible()
    yield watched.page
    watched.close()


def test_a_backend_that_is_killed_is_down_within_two_seconds(
    browser: Browser, tmp_path: Path
) -> None:
    with echo_backends(ports=(0, 0, 0, 0)) as backends:
        by_name = {f"b{number}": each for number, each in enumerate(backends, start=1)}
        ports = {name: port_of(each) for name, each in by_name.items()}
        file = write_config(tmp_path / "tcplb.toml", ports, more=CHECK)
        with balancer_with_admin("--config", str(file)) as it, page_of(browser, it) as page:
            expect(row(page, "b4")).to_contain_text("up")
            name = expect_soon(
                page, ("b2", "b3", "b4"), lambda name: by_name[name].signal(signal.SIGKILL)
            )
            expect(row(page, name)).to_contain_text("the last one: refused")


def test_a_drain_from_the_click_to_done(browser: Browser) -> None:
    with (
        echo_backends(ports=(0, 0)) as backends,
        balancer_with_admin(
            backends={f"b{number}": port_of(each) for number, each in enumerate(backends, start=1)}
        ) as it,
        page_of(browser, it) as page,
        socket.create_connection(("127.0.0.1", it.port), WAIT),  # it is the turn of b1
    ):
        button(page, "Drain b1").click()
        dialog(page, "Drain b1?").get_by_role("button", name="Drain", exact=True).click()
        give_token(page, TOKEN)
        expect(row(page, "b1")).to_contain_text("1 session left")
        [session] = it.admin.get("sessions")["sessions"]
        it.admin.do("DELETE", "sessions", session["id"])
        expect(row(page, "b1")).to_contain_text("nothing is left")


def test_a_reload_of_a_wrong_file_is_shown_until_one_works(
    browser: Browser, tmp_path: Path
) -> None:
    with echo_backends(ports=(0,)) as backends:
        ports = {"b1": port_of(backends[0])}
        file = write_config(tmp_path / "tcplb.toml", ports)
        with balancer_with_admin("--config", str(file)) as it, page_of(browser, it) as page:
            good = file.read_text()
            file.write_text(f"nonsense = 1\n{good}")
            it.lb.signal(signal.SIGHUP)
            expect(banners(page)).to_contain_text("nonsense")
            file.write_text(good)
            it.lb.signal(signal.SIGHUP)
            expect(banners(page)).not_to_contain_text("nonsense")

"""A fake balancer behind the real admin port, in a thread, and a browser that looks at its page."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Error,
    Page,
    Request,
    sync_playwright,
)

from tcplb.config.admin import AdminConfig
from tcplb.control.admin.server import AdminServer
from tests.control.admin.fake import FakeControl

T = TypeVar("T")

TOKEN = "only-operators-know-this"  # noqa: S105 - of a fake
WAIT = 30.0
CHROMIUM = shutil.which("chromium")


class Stage:
    """The fake balancer. What a test does to it happens in its thread."""

    def __init__(self, *, backends: int = 4) -> None:
        self.control = FakeControl(backends=backends)
        self._loop = asyncio.new_event_loop()
        self._server: AdminServer | None = None
        self._flow: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake balancer")
        # Kept through a restart of the server, as the supervisor keeps it.
        self._sock = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> Stage:
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run(self._stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(WAIT)
            self._loop.close()
            self._sock.close()

    @property
    def url(self) -> str:
        host, port = self._sock.getsockname()
        return f"http://{host}:{port}/"

    def do(self, what: Callable[[FakeControl], T]) -> T:
        """Let something happen in the balancer."""

        async def run() -> T:
            return what(self.control)

        return self._run(run())

    def hold_figures(self) -> None:
        """Let the figures and the balancer's clock stand still from now on."""
        self._run(self._hold())

    def stop_server(self) -> None:
        """Let the admin port end, as if the balancer had died. Nobody answers then."""
        self._run(self._stop())

    def start_server(self) -> None:
        """Let it come back."""
        self._run(self._start())

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(WAIT)

    async def _start(self) -> None:
        self._server = AdminServer(
            self.control, AdminConfig(bind="127.0.0.1:0"), token=TOKEN, sock=self._sock.dup()
        )
        await self._server.start()
        self._flow = asyncio.create_task(self._let_figures_move(), name="figures")

    async def _stop(self) -> None:
        await self._hold()
        if self._server is not None:
            await self._server.close()
        self._server = None

    async def _hold(self) -> None:
        if self._flow is not None:
            self._flow.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flow
        self._flow = None

    async def _let_figures_move(self) -> None:
        while True:
            self.control.now += 1
            for backend in self.control.all_backends():
                backend.connections += 10
                backend.connect_seconds += 0.01
                backend.bytes_down += 10_000
            await asyncio.sleep(1)  # the fake's clock: the page is made for a second a second


class Watched:
    """A page, and what must not happen on it: errors, refusals by the policy, foreign requests."""

    def __init__(self, browser: Browser, url: str, **look: Any) -> None:
        self._context = browser.new_context(base_url=url, **look)
        self._context.set_default_timeout(WAIT * 1000)
        self.page: Page = self._context.new_page()
        self.faults: list[str] = []
        self._allowed: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", self._on_error)
        self.page.on("request", lambda request: self._on_request(request, url))

    def allow(self, pattern: str) -> None:
        """Have messages of the console pass that match: browsers report each failed request."""
        self._allowed.append(pattern)

    def close(self) -> None:
        """Close it, and fail if something was wrong."""
        self._context.close()
        wrong = [
            each for each in self.faults if not any(re.search(rule, each) for rule in self._allowed)
        ]
        assert wrong == []

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(message.text)

    def _on_error(self, error: Error) -> None:
        self.faults.append(f"uncaught: {error}")

    def _on_request(self, request: Request, url: str) -> None:
        if not request.url.startswith(url):
            self.faults.append(f"asked {request.url}")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The distribution's Chromium."""
    with sync_playwright() as playwright:
        # As root, which CI often is, it runs without its sandbox or not at all.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        try:
            yield browser
        finally:
            browser.close()

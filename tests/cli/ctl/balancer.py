"""A balancer that `tcplb ctl` can be tried on: the real admin server over the fake one."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from click.testing import Result

from tcplb.config.admin import AdminConfig
from tcplb.control.admin.server import AdminServer
from tests.cli.invoke import invoke
from tests.control.admin.fake import FakeControl
from tests.processes import WAIT, free_port

TOKEN = "the-token-of-the-fake-balancer"  # noqa: S105

_STEP_TIME = 0.25

Got = TypeVar("Got")


class Balancer:
    """Runs in a thread of its own; what is done to it is done there."""

    def __init__(self, config: AdminConfig | None = None, *, backends: int = 4) -> None:
        self.control = FakeControl(backends=backends)
        self.address = f"127.0.0.1:{free_port()}"
        self._config = config or AdminConfig(bind=self.address)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._server: AdminServer | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT)
        self._loop.close()

    def start(self) -> None:
        """Let the admin port be there, again if it was stopped."""
        self._server = AdminServer(self.control, self._config, token=TOKEN)
        self._run(self._server.start())
        self.address = self._server.address

    def stop(self) -> None:
        """Let the admin port be away."""
        if self._server is not None:
            self._run(self._server.close())
            self._server = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.address.rpartition(":")[2])

    @property
    def environment(self) -> dict[str, str]:
        """What makes it the one that is meant, with its token."""
        return {"TCPLB_CTL_ADMIN": self.address, "TCPLB_ADMIN_TOKEN": TOKEN}

    def do(self, what: Callable[[FakeControl], Got]) -> Got:
        """Do something to the fake, where nothing else does at the same time."""

        async def there() -> Got:
            return what(self.control)

        return self._run(there())

    @contextmanager
    def at_work(self, step: Callable[[FakeControl], None]) -> Iterator[None]:
        """Take a step again and again meanwhile."""
        over = threading.Event()

        def work() -> None:
            while not over.wait(_STEP_TIME):
                self.do(step)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(WAIT)

    def ctl(self, *arguments: str, **environment: str) -> Result:
        """Run a command in this process."""
        return invoke("ctl", *arguments, environment=self.environment | environment)

    def says(self, *arguments: str) -> str:
        """Return what a command prints that succeeds without another word."""
        result = self.ctl(*arguments)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return result.stdout

    def fails(self, *arguments: str, code: int = 1) -> str:
        """Return what a command says that ends with this code."""
        result = self.ctl(*arguments)
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        return result.stderr

    def _run(self, work: Coroutine[Any, Any, Got]) -> Got:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT)


def unused_address() -> str:
    """Return an address where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"

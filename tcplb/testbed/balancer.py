"""The balancer as a process, and what its logs say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from tcplb.testbed.child import Child, module
from tcplb.testbed.errors import BedError, PortTakenError
from tcplb.testbed.log_lines import Event, SessionLine, read_event, read_session
from tcplb.testbed.ports import hold

__all__ = ["Balancer", "Event", "SessionLine"]

_READY = r'"listening on (\S+):(\d+): '


class Balancer:
    """`tcplb serve` before some backends, from `__aenter__` until `__aexit__`."""

    def __init__(
        self,
        backends: Sequence[str],
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        strategy: str = "hash",
        flags: Sequence[str] = (),
        sessions: bool = True,
        on_event: Callable[[Event], None] | None = None,
        on_session: Callable[[SessionLine], None] | None = None,
    ) -> None:
        """Prepare it. A wished `port` that is in use is replaced by a free one.

        `backends` are their addresses, and `flags` more flags of `tcplb serve`, which override
        ours. Without `sessions` there is no access log, which makes the balancer faster.
        """
        self.address = ""
        """Where it listens, as in 127.0.0.1:9090; it stays the same when it is restarted."""
        self.port = port
        """The wished port, and from `__aenter__` on the one that it listens on."""
        self.moved = False
        """Whether the wished port was in use."""
        self.strategy = strategy
        self._backends = tuple(backends)
        self._host = host
        self._flags = tuple(flags)
        self._sessions = sessions
        self._on_event = on_event
        self._on_session = on_session
        self._child: Child | None = None
        self._end: asyncio.Future[int] | None = None
        self._clock_offset = 0.0

    async def __aenter__(self) -> Self:
        """Start it and wait until it listens. Raises BedError with what it said if it cannot."""
        self._clock_offset = time.monotonic() - time.time()
        try:
            await self._start(self.port)
        except PortTakenError:
            await self._start(0)
            self.moved = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drain it for a second and end it."""
        if self._child is not None:
            await self._child.stop()
            self._on_end(self._child.code or 0)

    @property
    def pid(self) -> int:
        """The process id of its supervisor."""
        return self._of_child.pid

    async def restart(self, strategy: str) -> None:
        """Drain it for a second and start it again on its port with another strategy.

        Raises BedError; then there is none.
        """
        await self._of_child.stop()
        held = hold(self._host, self.port)
        self.strategy = strategy
        try:
            await self._start(self.port)
        finally:
            if held is not None:
                held.close()

    async def ended(self) -> int:
        """Wait until it ends without our doing, or `__aexit__` has ended it.

        Returns its exit code, negative for a signal.
        """
        if self._end is None:
            raise BedError("the balancer has not been started")
        return await asyncio.shield(self._end)

    # -- its process --------------------------------------------------------------------------

    async def _start(self, port: int) -> None:
        """Start it and wait until it listens. Raises BedError."""
        if self._end is None or self._end.done():
            self._end = asyncio.get_running_loop().create_future()
        child = self._child = Child(
            "the balancer",
            module("tcplb", "serve", *self._arguments(port)),
            ready=_READY,
            on_stdout=self._on_access_line,
            on_stderr=self._on_application_line,
            on_end=self._on_end,
        )
        match = await child.start()
        self._host = match[1].strip("[]")
        self.port = int(match[2])
        self.address = f"{match[1]}:{match[2]}"

    def _arguments(self, port: int) -> list[str]:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return [
            *("--listen", f"{host}:{port}"),
            *("--admin-bind", "none"),  # there may be another tcplb that has the usual one
            *(word for backend in self._backends for word in ("--backend", backend)),
            *("--strategy", self.strategy),
            *("--log-format", "json"),
            *("--access-log", "-" if self._sessions else "none"),
            *("--drain-timeout", "1s"),
            *self._flags,
        ]

    @property
    def _of_child(self) -> Child:
        if self._child is None:
            raise BedError("the balancer has not been started")
        return self._child

    # -- what it says -------------------------------------------------------------------------

    def _on_access_line(self, line: str) -> None:
        session = read_session(line, self._clock_offset)
        if session is None:
            self._on_application_line(line)
        elif self._on_session is not None:
            self._on_session(session)

    def _on_application_line(self, line: str) -> None:
        if self._on_event is not None:
            self._on_event(read_event(line, time.monotonic()))

    def _on_end(self, code: int) -> None:
        if self._end is not None and not self._end.done():
            self._end.set_result(code)

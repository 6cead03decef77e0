"""Echo backends, a process each, so that a kill takes down exactly one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tcplb.testbed.child import Child, OnLine, in_words, module
from tcplb.testbed.errors import PortTakenError
from tcplb.testbed.ports import hold

_READY = r"^backend (\S+):(\d+) pid (\d+)$"


class Backends:
    """Echo backends, from `__aenter__` until `__aexit__`, whatever happens in between."""

    def __init__(
        self,
        *,
        ports: Sequence[int] = (0, 0, 0, 0),
        host: str = "127.0.0.1",
        flags: Sequence[str] = (),
        on_line: OnLine | None = None,
    ) -> None:
        """Prepare one for each port, 0 for any free one. A wished port that is in use is replaced.

        `flags` are those of `echo-backends`. `on_line` gets what the backends print, and a line
        about each that ends without our doing.
        """
        self.names: tuple[str, ...] = ()
        """Their addresses, as in 127.0.0.1:8081, in the order of `ports`."""
        self.moved: dict[int, int] = {}
        """The ports taken instead of those that were in use."""
        self._ports = tuple(ports)
        self._all = [_Backend(host, flags, on_line or _ignore) for _ in ports]
        self._by_name: dict[str, _Backend] = {}

    async def __aenter__(self) -> Self:
        """Start them all at once. Raises BedError; then none is left."""
        starts = [
            asyncio.create_task(self._start(backend, port), name=f"start a backend on port {port}")
            for backend, port in zip(self._all, self._ports, strict=True)
        ]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            for start in starts:
                if not start.cancelling():  # by `gather`: a second time would be rude
                    start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
            await self._stop()
            raise
        self.names = tuple(backend.name for backend in self._all)
        self._by_name = dict(zip(self.names, self._all, strict=True))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End them all."""
        await self._stop()

    def alive(self, name: str) -> bool:
        """Whether that backend runs."""
        return self._by_name[name].alive

    def pid(self, name: str) -> int | None:
        """Return the process id of that backend; None if it does not run."""
        return self._by_name[name].pid

    async def kill(self, name: str) -> None:
        """Send SIGKILL to that backend, and wait until it is gone."""
        backend = self._by_name[name]
        await backend.kill()
        backend.hold_port()

    async def revive(self, name: str) -> None:
        """Start that backend again on its port, and wait until it listens. Raises BedError."""
        backend = self._by_name[name]
        if not backend.alive:
            await backend.start(backend.port)

    async def _start(self, backend: _Backend, port: int) -> None:
        try:
            await backend.start(port)
        except PortTakenError:
            await backend.start(0)
            self.moved[port] = backend.port

    async def _stop(self) -> None:
        stops = (backend.stop() for backend in self._all)
        try:
            results = await asyncio.gather(*stops, return_exceptions=True)
        except asyncio.CancelledError:
            # A stop that is cancelled before its first step has done nothing.
            for backend in self._all:
                await backend.kill()
            raise
        for result in results:
            if isinstance(result, BaseException):
                raise result


class _Backend:
    """One of them: its address, and the process of the moment."""

    def __init__(self, host: str, flags: Sequence[str], on_line: OnLine) -> None:
        self._host = host
        self._flags = flags
        self._on_line = on_line
        self._child: Child | None = None
        self._held: socket.socket | None = None
        self.name = ""
        self.port = 0

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.code is None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None and self.alive else None

    async def start(self, port: int) -> None:
        """Start it and wait until it listens. Raises BedError."""
        child = self._child = Child(
            f"a backend on port {port}",
            module("echo_backends", "--ports", str(port), "--host", self._host, *self._flags),
            ready=_READY,
            on_stdout=self._on_line,
            on_stderr=self._on_line,
            on_end=self._ended,
        )
        match = await child.start()
        self._host = match[1].strip("[]")
        self.port = int(match[2])
        self.name = f"{match[1]}:{match[2]}"
        self._release_port()

    async def kill(self) -> None:
        if self._child is not None:
            await self._child.kill()
        self._release_port()

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop()
        self._release_port()

    def hold_port(self) -> None:
        self._held = hold(self._host, self.port)

    def _release_port(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def _ended(self, code: int) -> None:
        pid = self._child.pid if self._child is not None else 0
        self._on_line(f"backend {self.name} pid {pid} ended: {in_words(code)}")


def _ignore(_: str) -> None:
    pass

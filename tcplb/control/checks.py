"""One active check of one backend: a fresh connection, a question, an answer, and a FIN."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tcplb.config.models import CheckConfig
from tcplb.control.check_answers import Answer, CheckResult, answer_of, question_of
from tcplb.dataplane.dial import connect, outcome_of
from tcplb.policy.backend import Backend

MIN_FAREWELL = 0.1
MAX_FAREWELL = 1.0
"""Seconds that a backend has, after the check, to end its direction too, at least and at most."""

_LAST_LOOK = 0.05
"""Seconds more, from when we see that the time is over, for what has come by then to be read. Else
a loop that something has held up would take its own lateness for the backend's."""
_MAX_DROPPED = 1024 * 1024
"""Bytes that are read and dropped meanwhile: one that sends for ever gets a RST."""
_CHUNK = 64 * 1024


class Check:
    """One check on a connection of its own: `run`, then `farewell`, and `close` in any case."""

    def __init__(self, config: CheckConfig, backend: Backend) -> None:
        """Prepare a check of `backend`, whose port is the one that is to be checked."""
        self._config = config
        self._backend = backend
        self._loop = asyncio.get_running_loop()
        self._sock: socket.socket | None = None

    async def run(self) -> CheckResult:
        """Return how the check went, at the latest when its time is over.

        Raises OSError if something of our own was missing, such as a file descriptor: that says
        nothing about the backend.
        """
        config = self._config
        answer = answer_of(config)
        began = self._loop.time()
        try:
            async with _in_time(config.timeout):
                self._sock = await connect(self._backend)
                if answer is not None:
                    return await self._ask(self._sock, answer)
        except TimeoutError:
            if self._sock is None or answer is None:
                return CheckResult(False, f"timed out after {config.timeout:g} s")
            return answer.overdue(config.timeout)
        except OSError as error:
            return self._failed(error)
        took = (self._loop.time() - began) * 1000
        return CheckResult(True, f"connected in {took:.0f} ms")

    async def _ask(self, sock: socket.socket, answer: Answer) -> CheckResult:
        question = question_of(self._config, self._backend.host, self._backend.port)
        if question:
            await self._loop.sock_sendall(sock, question)
        while data := await self._loop.sock_recv(sock, _CHUNK):
            result = answer.feed(data)
            if result is not None:
                return result
        return answer.ended()

    def _failed(self, error: OSError) -> CheckResult:
        """Return what an error says of the backend; raise it if it says nothing."""
        outcome = outcome_of(error)
        if not outcome.blames_backend:
            raise error
        if self._sock is None:
            return CheckResult(False, outcome.value)
        if isinstance(error, ConnectionResetError | BrokenPipeError):
            return CheckResult(False, "reset before it answered")
        return CheckResult(False, f"failed before it answered: {error.strerror}")

    async def farewell(self, seconds: float = MAX_FAREWELL) -> None:
        """End the connection in good order, if possible within `seconds`.

        Closing it with something unread would send a RST, which servers log as a client's fault:
        so our FIN goes out first, and what still comes is dropped, within bounds.
        """
        if self._sock is None:
            return
        dropped = 0
        try:
            self._sock.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(min(max(seconds, MIN_FAREWELL), MAX_FAREWELL)):
                while dropped < _MAX_DROPPED:
                    data = await self._loop.sock_recv(self._sock, _CHUNK)
                    if not data:
                        return
                    dropped += len(data)
        except OSError:
            pass  # it has reset the connection, or its time is over (a TimeoutError)

    def close(self) -> None:
        """Let go of the connection, if there is one."""
        if self._sock is not None:
            self._sock.close()


@asynccontextmanager
async def _in_time(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError when the time is over, and a last look at what has come as well."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        over = loop.call_later(seconds, lambda: limit.reschedule(loop.time() + _LAST_LOOK))
        try:
            yield
        finally:
            over.cancel()

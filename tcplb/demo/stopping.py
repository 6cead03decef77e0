"""The wish to stop: signals only record it, and whoever runs things looks at it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""SIGHUP is a terminal that is closed."""


class StoppedError(Exception):
    """Somebody wished to stop before all had started."""


class Stop:
    """Is set once, and then stays so."""

    def __init__(self) -> None:
        """Begin, with a loop running."""
        self._wished = asyncio.Event()
        self._start: asyncio.Timeout | None = None

    def on_signals(self) -> None:
        """Be set by the signals that end a program in a terminal, from now on."""
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self.set)

    def set(self) -> None:
        """Wish to stop."""
        if self._wished.is_set():
            return
        self._wished.set()
        if self._start is not None:
            self._start.reschedule(asyncio.get_running_loop().time())

    async def wait(self) -> None:
        """Wait until somebody wishes it."""
        await self._wished.wait()

    @asynccontextmanager
    async def cuts_short(self) -> AsyncIterator[None]:
        """Let a stop interrupt what is inside, as a time-out would. Raises StoppedError then."""
        if self._wished.is_set():
            raise StoppedError
        try:
            async with asyncio.timeout(None) as self._start:
                yield
        except TimeoutError as error:
            if not self._wished.is_set():
                raise
            raise StoppedError from error
        finally:
            self._start = None

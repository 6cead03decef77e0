"""One request is worked on at a time, and not all of the time.

An answer about many backends takes a while to make. The supervisor's loop has other things to do
that cannot wait, such as telling in time that a check has passed. So however many ask at once, each
answer is made after the other, and the loop is left alone for as long as each has taken.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from tcplb.control.admin.answers import RefusedError


class Pace:
    """Gives turns in the order in which they are asked for."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: deque[asyncio.Future[bool]] = deque()

    @asynccontextmanager
    async def turn(self, gone: asyncio.Future[None]) -> AsyncIterator[None]:
        """Wait for a turn, and have it. Raises RefusedError if the client has `gone` meanwhile."""
        await self._take(gone)
        began = time.thread_time()
        try:
            yield
        finally:
            took = time.thread_time() - began
            asyncio.get_running_loop().call_later(took, self._give_to_next)

    async def _take(self, gone: asyncio.Future[None]) -> None:
        if not self._is_taken:
            self._is_taken = True
            return
        mine = asyncio.get_running_loop().create_future()

        def leave(_: asyncio.Future[None]) -> None:
            if not mine.done():
                mine.set_result(False)

        self._waiting.append(mine)
        gone.add_done_callback(leave)
        try:
            is_my_turn = await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled() and mine.result():
                self._give_to_next()
            raise
        finally:
            gone.remove_done_callback(leave)
        if not is_my_turn:
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "the client left before its turn")

    def _give_to_next(self) -> None:
        while self._waiting:
            following = self._waiting.popleft()
            if not following.done():
                following.set_result(True)
                return
        self._is_taken = False

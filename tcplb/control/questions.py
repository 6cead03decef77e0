"""Questions to workers that are waiting for their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from tcplb.control.inquiries import Answer, Question
from tcplb.control.messages import Ask

PATIENCE = 5.0
"""Seconds that a worker has for an answer."""


class Questions:
    """Who was asked what."""

    def __init__(self, send: Callable[[int, Ask], None]) -> None:
        """Use `send` to tell a worker, by its slot."""
        self._send = send
        self._next = 0
        self._waiting: dict[int, tuple[int, asyncio.Future[Answer]]] = {}

    async def ask(self, workers: Iterable[int], question: Question) -> dict[int, Answer]:
        """Ask some workers, and return the answers of those that have one in time."""
        loop = asyncio.get_running_loop()
        asked: dict[int, asyncio.Future[Answer]] = {}
        numbers: list[int] = []
        for worker in workers:
            self._next += 1
            numbers.append(self._next)
            asked[worker] = loop.create_future()
            self._waiting[self._next] = worker, asked[worker]
            self._send(worker, Ask(self._next, question))
        try:
            if asked:
                await asyncio.wait(asked.values(), timeout=PATIENCE)
        finally:
            for number in numbers:
                self._waiting.pop(number, None)
        return {
            worker: future.result()
            for worker, future in asked.items()
            if future.done() and not future.cancelled()
        }

    def answered(self, number: int, answer: Answer) -> None:
        """Take an answer; if it is too late, nothing happens."""
        _, future = self._waiting.get(number, (0, None))
        if future is not None and not future.done():
            future.set_result(answer)

    def gone(self, worker: int) -> None:
        """Wait for that worker no longer."""
        for asked, future in self._waiting.values():
            if asked == worker:
                future.cancel()

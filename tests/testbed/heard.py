"""A callback that remembers, and can be waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from tests.processes import WAIT

Item = TypeVar("Item")


class Heard(Generic[Item]):
    """What it was called with, in order."""

    def __init__(self) -> None:
        self.all: list[Item] = []
        self._changed = asyncio.Event()

    def __call__(self, item: Item) -> None:
        self.all.append(item)
        self._changed.set()

    async def wait_for(self, wanted: Callable[[Item], bool]) -> Item:
        """Wait for the first item that is wanted."""
        seen = 0
        async with asyncio.timeout(WAIT):
            while True:
                for item in self.all[seen:]:
                    seen += 1
                    if wanted(item):
                        return item
                self._changed.clear()
                await self._changed.wait()


async def talk(address: str, data: bytes = b"\x01hello") -> bytes:
    """Send something that is no HTTP through one connection, and return what comes back."""
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(WAIT):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        writer.write_eof()
        answer = await reader.read(-1)
        writer.close()
        await writer.wait_closed()
    return answer

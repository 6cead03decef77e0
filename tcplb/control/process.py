"""What the supervisor and the workers need alike of their process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine

if sys.platform != "win32":
    import uvloop


def occupy_standard_descriptors() -> None:
    """Open /dev/null for each of 0, 1 and 2 that is closed: libuv aborts if it gets one of them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # It gets the lowest number that is free: this one. Workers inherit it like any other.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return uvloop's event loop, or asyncio's where there is no uvloop."""
    if sys.platform == "win32":  # uvloop is not made for it
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def first_of(*waits: Coroutine[object, object, object], timeout: float | None = None) -> None:
    """Return when one of `waits` has ended or `timeout` seconds are over; the rest are cancelled.

    Raises what the one that ended raised.
    """
    tasks = [asyncio.create_task(wait, name="wait") for wait in waits]
    done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()

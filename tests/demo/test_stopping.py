from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tcplb.demo.stopping import Stop, StoppedError
from tests.processes import WAIT


async def test_a_stop_cuts_short_what_starts() -> None:
    stop, reached, cleaned = Stop(), asyncio.Event(), []

    async def start() -> None:
        async with stop.cuts_short():
            try:
                reached.set()
                await asyncio.Event().wait()
            finally:
                cleaned.append(True)

    starting = asyncio.create_task(start())
    await reached.wait()
    stop.set()
    stop.set()
    with pytest.raises(StoppedError):
        await asyncio.wait_for(starting, WAIT)
    assert cleaned == [True]


async def test_what_has_started_is_not_cut_short_any_more() -> None:
    stop = Stop()
    async with stop.cuts_short():
        pass
    stop.set()
    await asyncio.wait_for(stop.wait(), WAIT)


async def test_nothing_is_started_after_a_stop() -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(StoppedError):
        async with stop.cuts_short():
            pytest.fail("it was started")


async def test_a_time_out_of_what_starts_is_no_stop() -> None:
    with pytest.raises(TimeoutError):
        async with Stop().cuts_short():
            raise TimeoutError


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_is_a_stop(number: signal.Signals) -> None:
    stop = Stop()
    stop.on_signals()
    try:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), WAIT)
    finally:
        asyncio.get_running_loop().remove_signal_handler(number)

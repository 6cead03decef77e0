"""The idle timer, on a loop whose time is set by the test."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import cast

import pytest

from tcplb.dataplane.quiet import QuietTimer


class Handle:
    def cancel(self) -> None:
        raise AssertionError("not used")


class Loop:
    """Of an event loop, the clock and the timers."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Handle:
        heapq.heappush(self.timers, (when, next(self._number), callback))
        return Handle()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        return self.call_at(self.now + delay, callback)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self.timers and self.timers[0][0] <= end:
            self.now, _, callback = heapq.heappop(self.timers)
            callback()
        self.now = end


class Relay:
    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.moved = 0
        self.expired_at: float | None = None

    def progress(self) -> int:
        return self.moved

    def expire(self) -> None:
        assert self.expired_at is None, "expired twice"
        self.expired_at = self._loop.now


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def timer(loop: Loop) -> QuietTimer:
    return QuietTimer(cast(asyncio.AbstractEventLoop, loop), 8.0)


def check_expired(relay: Relay, *, since: float) -> None:
    """Check that `relay` expired between 1 and 1.25 time-outs after `since`."""
    assert relay.expired_at is not None
    assert 8.0 <= relay.expired_at - since <= 10.0


def test_expires_after_one_time_out_of_quiet(loop: Loop, timer: QuietTimer) -> None:
    relay = Relay(loop)
    timer.watch(relay)
    loop.advance(7.9)
    assert relay.expired_at is None
    loop.advance(100)
    check_expired(relay, since=1000.0)
    assert loop.timers == []  # nobody left to watch


@pytest.mark.parametrize("moved_at", [0.1, 1.9, 2.1, 5.0, 7.9])
def test_expires_between_1_and_a_quarter_time_outs_after_the_last_byte(
    loop: Loop, timer: QuietTimer, moved_at: float
) -> None:
    relay = Relay(loop)
    timer.watch(relay)
    loop.advance(moved_at)
    relay.moved += 1
    loop.advance(100)
    check_expired(relay, since=1000 + moved_at)


def test_any_change_is_progress(loop: Loop, timer: QuietTimer) -> None:
    relay = Relay(loop)
    timer.watch(relay)
    for change in (1, -1, 5, -7) * 20:
        loop.advance(7)
        relay.moved += change
    assert relay.expired_at is None


def test_forgotten_relays_do_not_expire(loop: Loop, timer: QuietTimer) -> None:
    first, second = Relay(loop), Relay(loop)
    timer.watch(first)
    timer.watch(second)
    loop.advance(7)
    timer.forget(first)
    timer.forget(first)
    loop.advance(100)
    assert first.expired_at is None
    check_expired(second, since=1000.0)


def test_watches_many_by_one_timer(loop: Loop, timer: QuietTimer) -> None:
    relays = [Relay(loop) for _ in range(10)]
    for relay in relays:
        timer.watch(relay)
        loop.advance(1)
        assert len(loop.timers) == 1
    loop.advance(100)
    for number, relay in enumerate(relays):
        check_expired(relay, since=1000.0 + number)


def test_starts_again_after_it_had_nobody(loop: Loop, timer: QuietTimer) -> None:
    first = Relay(loop)
    timer.watch(first)
    timer.forget(first)
    loop.advance(50)
    assert loop.timers == []
    second = Relay(loop)
    timer.watch(second)
    loop.advance(50)
    check_expired(second, since=1050.0)


def test_watched_again_begins_anew(loop: Loop, timer: QuietTimer) -> None:
    relay = Relay(loop)
    timer.watch(relay)
    loop.advance(7)
    timer.forget(relay)
    timer.watch(relay)
    loop.advance(7)
    assert relay.expired_at is None
    loop.advance(100)
    check_expired(relay, since=1007.0)

"""The lines of a pool: order, bounds, and what happens in one and the same instant."""

from __future__ import annotations

import asyncio
from random import Random
from typing import cast

import pytest

from tcplb.dataplane.engine import Connection
from tcplb.dataplane.queueing import PoolQueue, Waiter
from tcplb.dataplane.termination import Termination
from tcplb.policy.backend import Backend
from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.lease import Lease
from tcplb.policy.occupancy import LocalOccupancy
from tcplb.policy.outcome import Outcome
from tcplb.policy.pool import Pool
from tcplb.policy.queue import QueuePolicy
from tcplb.policy.retry import RetryPolicy
from tcplb.policy.round_robin import RoundRobin
from tcplb.policy.rules import PoolRules
from tcplb.policy.transition import State
from tests.dataplane.harness import ManualClock
from tests.peers import eventually

EJECT = EjectPolicy(failures=1, base_time=5, step=0, max_time=5, jitter=0)


class Client:
    """What waits in a line, and does what the test says."""

    def __init__(self) -> None:
        self.lost = False
        self.woken = asyncio.Event()
        self.ends_with: BaseException | None = None
        """What its wait ends with, even if it has been woken by then."""
        self._waited: tuple[float, bool] | None = None

    async def wait(self, timeout: float, *, until_fin: bool) -> None:
        self._waited = (timeout, until_fin)
        await self.woken.wait()
        if self.ends_with is not None:
            raise self.ends_with

    def waited(self) -> tuple[float, bool] | None:
        return self._waited

    def wake(self) -> None:
        self.woken.set()

    def end(self, error: BaseException) -> None:
        self.ends_with = error
        self.woken.set()


def has_lease(waiter: Waiter) -> bool:
    return waiter.lease is not None


def lease_of(waiter: Waiter) -> Lease:
    assert waiter.lease is not None
    return waiter.lease


class Stage:
    """A pool and its queue, and those who wait there."""

    def __init__(
        self,
        *limits: int,
        queue: QueuePolicy | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        backends = [Backend(f"b{n}", "127.0.0.1", 1, 1, limit) for n, limit in enumerate(limits)]
        self.occupancy = LocalOccupancy(len(limits))
        rules = PoolRules(eject=EJECT, queue=queue or QueuePolicy(), retry=retry or RetryPolicy())
        self.pool = Pool(
            "web",
            backends,
            lambda backends, _: RoundRobin(backends),
            rng=Random(1),
            rules=rules,
            occupancy=self.occupancy,
        )
        self.clock = ManualClock()
        self.queue = PoolQueue(self.pool, self.clock)

    def acquire(self) -> Lease:
        lease = self.pool.acquire(b"", now=self.clock.now)
        assert lease is not None
        return lease

    async def join(self, *tried: str) -> tuple[Client, Waiter, asyncio.Task[Termination | None]]:
        """Let somebody wait for room, who has tried some."""
        client = Client()
        waiter = Waiter(cast(Connection, client), tried=tried)
        task = asyncio.create_task(self.queue.wait_for_room(waiter))
        await asyncio.sleep(0)
        return client, waiter, task

    async def retry(self) -> tuple[Client, Waiter, asyncio.Task[bool]]:
        """Let somebody wait for a turn to try again."""
        client = Client()
        waiter = Waiter(cast(Connection, client), tried=("b0",))
        task = asyncio.create_task(self.queue.begin_retry(waiter, 600))
        await asyncio.sleep(0)
        return client, waiter, task

    def nobody_is_left(self) -> bool:
        return self.queue.waiting == 0 and self.pool.active_total == self.occupancy.total() == 0


# -- room -----------------------------------------------------------------------------------------


async def test_a_place_goes_to_the_first_who_waits_at_once() -> None:
    stage = Stage(1)
    held = stage.acquire()
    one, other = await stage.join(), await stage.join()
    stage.queue.release(held)  # and no await: nobody can come in between
    assert has_lease(one[1])
    assert not has_lease(other[1])
    assert stage.pool.acquire(b"", now=stage.clock.now) is None
    assert stage.queue.waiting == 1
    assert await one[2] is None
    stage.queue.release(lease_of(one[1]))
    assert await other[2] is None
    assert has_lease(other[1])
    stage.queue.release(lease_of(other[1]))
    assert stage.nobody_is_left()


async def test_a_place_is_not_given_to_one_who_has_tried_that_backend() -> None:
    stage = Stage(1, 1)
    held = [stage.acquire(), stage.acquire()]
    one, other = await stage.join("b0"), await stage.join("b1")
    stage.queue.release(held[0])
    assert await other[2] is None
    assert not one[2].done()
    stage.queue.release(held[1])
    assert await one[2] is None
    leases = [one[1].lease, other[1].lease]
    assert [lease and lease.backend.name for lease in leases] == ["b1", "b0"]
    for lease in leases:
        assert lease is not None
        stage.queue.release(lease)
    assert stage.nobody_is_left()


async def test_a_place_that_suits_nobody_who_waits_is_free() -> None:
    stage = Stage(1, 1)
    held = [stage.acquire(), stage.acquire()]
    client, _, task = await stage.join("b0")
    stage.queue.release(held[0])
    assert stage.occupancy.active(0) == 0
    client.end(ConnectionResetError())
    assert await task is Termination.CLIENT_LEFT_QUEUE
    stage.queue.release(held[1])
    assert stage.nobody_is_left()


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (ConnectionResetError(), Termination.CLIENT_LEFT_QUEUE),
        (TimeoutError(), Termination.QUEUE_TIMED_OUT),
    ],
    ids=["leaves", "times out"],
)
async def test_who_gives_up_leaves_its_place_to_the_next(
    error: Exception, result: Termination
) -> None:
    stage = Stage(1, queue=QueuePolicy(size=2))
    held = stage.acquire()
    first, second = await stage.join(), await stage.join()
    refused = await stage.join()
    assert await refused[2] is Termination.QUEUE_FULL
    first[0].end(error)
    assert await first[2] is result
    assert not has_lease(first[1])
    third = await stage.join()
    assert not third[2].done()
    stage.queue.release(held)
    for _, waiter, task in (second, third):
        assert await task is None
        assert has_lease(waiter)
        stage.queue.release(lease_of(waiter))
    assert stage.nobody_is_left()


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (ConnectionResetError(), Termination.CLIENT_LEFT_QUEUE),
        (TimeoutError(), None),  # it came in time, only just
    ],
    ids=["leaves", "times out"],
)
async def test_who_gives_up_in_the_instant_in_which_it_is_given_a_place_still_has_it(
    error: Exception, result: Termination | None
) -> None:
    stage = Stage(1)
    held = stage.acquire()
    client, waiter, task = await stage.join()
    stage.queue.release(held)
    client.end(error)
    assert await task is result
    assert has_lease(waiter)  # for its owner to use, or to give back
    assert stage.queue.waiting == 0
    stage.queue.release(lease_of(waiter))
    assert stage.nobody_is_left()


async def test_cancelled_in_the_instant_in_which_it_is_given_a_place() -> None:
    stage = Stage(1)
    held = stage.acquire()
    client, waiter, task = await stage.join()
    stage.queue.release(held)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client.woken.is_set()
    assert has_lease(waiter)
    assert stage.queue.waiting == 0
    stage.queue.release(lease_of(waiter))
    assert stage.nobody_is_left()


async def test_cancelled_while_it_waits() -> None:
    stage = Stage(1)
    held = stage.acquire()
    _, waiter, task = await stage.join()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not has_lease(waiter)
    stage.queue.release(held)
    assert stage.nobody_is_left()


@pytest.mark.parametrize(
    ("size", "result"), [(0, Termination.ALL_FULL), (1, Termination.QUEUE_FULL)]
)
async def test_a_line_that_is_full(size: int, result: Termination) -> None:
    stage = Stage(1, queue=QueuePolicy(size=size))
    held = stage.acquire()
    for _ in range(size):
        await stage.join()
    client, _, task = await stage.join()
    assert await task is result
    assert client.waited() is None
    assert stage.queue.waiting == size
    stage.queue.release(held)


async def test_the_policy_says_how_long_and_what_is_leaving() -> None:
    for abort in (True, False):
        stage = Stage(1, queue=QueuePolicy(timeout=7, abort_on_close=abort))
        stage.acquire()
        client, _, task = await stage.join()
        assert client.waited() == (7, abort)
        task.cancel()


async def test_no_place_of_a_backend_that_is_out_is_passed_on() -> None:
    stage = Stage(1, 1)
    held = [stage.acquire(), stage.acquire()]
    client, waiter, task = await stage.join()
    stage.pool.observe(held[0], Outcome.REFUSED, now=stage.clock.now)
    assert stage.pool.state(held[0].backend) is State.EJECTED
    stage.queue.release(held[0])
    assert not has_lease(waiter)
    stage.queue.release(held[1])
    assert has_lease(waiter)
    await task
    assert client.woken.is_set()
    stage.queue.release(lease_of(waiter))
    assert stage.nobody_is_left()


async def test_room_that_nobody_has_told_of_is_found_in_the_order_of_the_line() -> None:
    stage = Stage(1, 2)
    for position, limit in ((0, 1), (1, 2), (1, 2)):  # by another process
        assert stage.occupancy.try_enter(position, limit)
    tried = await stage.join("b1")
    others = [await stage.join() for _ in range(3)]
    stage.occupancy.leave(1)
    stage.occupancy.leave(1)
    await eventually(lambda: stage.queue.waiting == 2)
    assert [has_lease(one[1]) for one in (tried, *others)] == [False, True, True, False]
    stage.occupancy.leave(0)
    await eventually(lambda: stage.queue.waiting == 1)
    assert has_lease(tried[1])
    for _, waiter, _ in (tried, *others[:2]):
        assert has_lease(waiter)
        stage.queue.release(lease_of(waiter))
    assert await others[2][2] is None
    assert others[2][1].lease is not None
    stage.queue.release(others[2][1].lease)
    assert stage.nobody_is_left()


async def test_a_trial_is_given_to_one_who_waits_and_then_to_the_next() -> None:
    stage = Stage(1, 1)
    held = [stage.acquire(), stage.acquire()]
    stage.pool.observe(held[0], Outcome.REFUSED, now=stage.clock.now)
    stage.queue.release(held[0])
    first, second = await stage.join(), await stage.join()
    stage.clock.now += 6
    await eventually(lambda: has_lease(first[1]))
    assert has_lease(first[1])
    assert lease_of(first[1]).trial
    assert not has_lease(second[1])
    stage.pool.observe(lease_of(first[1]), Outcome.ABANDONED, now=stage.clock.now)  # it has left
    stage.queue.release(lease_of(first[1]))
    await eventually(lambda: has_lease(second[1]))
    assert has_lease(second[1])
    assert lease_of(second[1]).trial
    stage.pool.observe(lease_of(second[1]), Outcome.CONNECTED, now=stage.clock.now)
    for lease in (lease_of(second[1]), held[1]):
        stage.queue.release(lease)
    assert stage.nobody_is_left()


# -- trying again ---------------------------------------------------------------------------------


async def test_no_more_try_again_at_once_than_the_budget_says() -> None:
    stage = Stage(0, retry=RetryPolicy(budget_percent=20, budget_min=3))
    retries = [await stage.retry() for _ in range(5)]
    assert [task.done() for _, _, task in retries] == [True, True, True, False, False]
    stage.queue.end_retry()
    await asyncio.sleep(0)
    assert await retries[3][2]
    assert not retries[4][2].done()
    for _ in range(4):
        stage.queue.end_retry()
    assert await retries[4][2]


async def test_the_budget_grows_with_what_is_open() -> None:
    stage = Stage(0, retry=RetryPolicy(budget_percent=20, budget_min=3))
    held = [stage.acquire() for _ in range(29)]
    retries = [await stage.retry() for _ in range(6)]
    assert [task.done() for _, _, task in retries] == [True] * 5 + [False]
    held.append(stage.acquire())  # 30, of which 20 % are 6
    stage.queue.end_retry()
    await asyncio.sleep(0)
    assert retries[5][2].done()
    for _ in range(5):
        stage.queue.end_retry()
    retries = [await stage.retry() for _ in range(7)]
    assert [task.done() for _, _, task in retries] == [True] * 6 + [False]
    stage.queue.end_retry()
    assert await retries[6][2]
    for lease in held:
        stage.queue.release(lease)


async def test_nobody_who_comes_later_tries_again_before_those_who_wait() -> None:
    stage = Stage(0, retry=RetryPolicy(budget_percent=50, budget_min=1))
    first, second = await stage.retry(), await stage.retry()
    assert (first[2].done(), second[2].done()) == (True, False)
    held = [stage.acquire() for _ in range(4)]  # which makes room for one more
    third = await stage.retry()
    assert not third[2].done()
    stage.queue.end_retry()
    assert await second[2]
    assert await third[2]
    for lease in held:
        stage.queue.release(lease)


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError()], ids=["late", "left"])
@pytest.mark.parametrize("let_go", [False, True])
async def test_who_gives_up_takes_no_part_of_the_budget_along(
    error: Exception, let_go: bool
) -> None:
    stage = Stage(0, retry=RetryPolicy(budget_percent=0, budget_min=1))
    _, quitter, last = [await stage.retry() for _ in range(3)]
    if let_go:
        stage.queue.end_retry()
    quitter[0].end(error)
    assert not await quitter[2]
    if not let_go:
        assert not last[2].done()
        stage.queue.end_retry()
    assert await last[2]
    stage.queue.end_retry()
    assert (await stage.retry())[2].done()


@pytest.mark.parametrize("let_go", [False, True])
async def test_cancelled_while_it_waits_for_the_budget(let_go: bool) -> None:
    stage = Stage(0, retry=RetryPolicy(budget_percent=0, budget_min=1))
    _, victim, last = [await stage.retry() for _ in range(3)]
    if let_go:
        stage.queue.end_retry()
    victim[2].cancel()
    with pytest.raises(asyncio.CancelledError):
        await victim[2]
    if not let_go:
        stage.queue.end_retry()
    assert await last[2]
    stage.queue.end_retry()
    assert (await stage.retry())[2].done()


async def test_a_fin_is_no_leaving_for_one_who_waits_to_try_again() -> None:
    stage = Stage(0, retry=RetryPolicy(budget_percent=0, budget_min=1))
    await stage.retry()
    client, _, task = await stage.retry()
    assert client.waited() == (600, False)
    stage.queue.end_retry()
    assert await task

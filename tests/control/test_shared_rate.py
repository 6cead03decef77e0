"""A rate over several workers: simulated ones here, real processes at the end."""

from __future__ import annotations

import os
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.control.shared_file import shared_file
from tcplb.control.shared_rate import SharedRate
from tcplb.policy.rate import Rate, TokenBucket
from tests.processes import WAIT

WORKERS = 3


class Crew:
    """Workers with a rate, in one process."""

    def __init__(self, rate: Rate) -> None:
        self.taken = memoryview(array("q", [0] * (WORKERS + 1)))
        self.base = memoryview(array("q", [0] * (WORKERS + 1)))
        self.workers = [SharedRate(rate, self.taken, self.base, slot) for slot in range(WORKERS)]

    def retire(self, slot: int) -> None:
        """Do what the supervisor does when a worker is gone."""
        self.taken[slot] = self.base[slot] = 0


RATES = st.builds(Rate, st.integers(1, 200), st.integers(0, 12))
SLOTS = st.integers(0, WORKERS - 1)


@given(RATES, st.lists(st.tuples(SLOTS, st.integers(0, 2**20)), max_size=200))
def test_one_step_at_a_time_it_is_a_bucket_that_all_share(
    rate: Rate, steps: list[tuple[int, int]]
) -> None:
    crew, bucket, now = Crew(rate), TokenBucket(rate), 1000.0
    for slot, step in steps:
        now += step / 2**20
        for worker in crew.workers:
            assert worker.ready_in(now) == bucket.ready_in(now) or worker.ready_in(now) == 0.0
        assert crew.workers[slot].try_take(now) == bucket.try_take(now)


@given(
    RATES,
    st.lists(
        st.tuples(SLOTS, st.sampled_from(["take", "keep", "give back"]), st.floats(0, 0.2)),
        max_size=200,
    ),
)
def test_no_interval_has_more_than_burst_and_rate_and_one_for_each_other_worker(
    rate: Rate, steps: list[tuple[int, str, float]]
) -> None:
    crew, now = Crew(rate), 1000.0
    out: dict[int, float] = {}  # a token that a worker has taken and does not yet know what for
    kept: list[float] = []
    for slot, action, step in steps:
        now += step
        if action == "take" and slot not in out and crew.workers[slot].try_take(now):
            out[slot] = now
        elif action == "keep" and slot in out:
            kept.append(out.pop(slot))
        elif action == "give back" and slot in out:
            out.pop(slot)
            crew.workers[slot].give_back()
    kept = sorted([*kept, *out.values()])
    for first in range(len(kept)):
        for last in range(first, len(kept)):
            allowed = rate.capacity + rate.per_second * (kept[last] - kept[first] + 1e-8)
            assert last - first + 1 <= allowed + WORKERS - 1


@given(RATES, st.lists(st.tuples(SLOTS, st.floats(0, 0.5)), min_size=1, max_size=60))
def test_nobody_waits_longer_than_it_says(rate: Rate, steps: list[tuple[int, float]]) -> None:
    crew, now = Crew(rate), 1000.0
    for slot, step in steps:
        now += step
        worker = crew.workers[slot]
        if not worker.try_take(now):
            now += worker.ready_in(now)
            assert worker.try_take(now)


@given(st.lists(st.tuples(SLOTS, st.booleans(), st.floats(0, 3)), max_size=100))
def test_the_end_of_a_worker_holds_up_nobody_and_brings_one_burst_at_most(
    steps: list[tuple[int, bool, float]],
) -> None:
    rate = Rate(per_second=2, burst=3)
    crew, now, started, ends = Crew(rate), 1000.0, 0, 0
    for slot, ends_now, step in steps:
        now += step
        if ends_now:
            crew.retire(slot)
            ends += 1
        started += crew.workers[slot].try_take(now)
        assert max(worker.ready_in(now) for worker in crew.workers) <= 0.5
    assert started <= (1 + ends) * rate.capacity + rate.per_second * (now - 1000.0 + 1e-6)


def test_burst_is_for_all_workers_together_and_after_a_quiet_time_again() -> None:
    crew = Crew(Rate(per_second=10, burst=4))
    for now in (1000.0, 5000.0, 5000.4):
        taken = [crew.workers[number % WORKERS].try_take(now) for number in range(9)]
        assert taken == [True] * 4 + [False] * 5


def test_a_worker_that_was_idle_for_long_knows_what_others_have_taken() -> None:
    one, other, _ = (crew := Crew(Rate(per_second=1, burst=2))).workers
    for second in range(1000):
        assert one.try_take(1000.0 + second)
    assert one.try_take(1999.0)
    assert not other.try_take(1999.0)
    assert other.ready_in(1999.0) == 1.0
    assert other.try_take(2000.0)
    assert sum(crew.taken) == 1002


def test_clocks_that_differ_a_little_stop_nobody() -> None:
    one, other, _ = Crew(Rate(per_second=1, burst=1)).workers
    assert one.try_take(1000.0)
    assert not other.try_take(999.999)
    assert other.ready_in(999.999) == 1.001
    assert other.try_take(1001.0)


class Interrupted(list[int]):
    """A column of which one reading, counted from now, is at once followed by what others do."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__([0] * WORKERS)
        self._then = then

    def __iter__(self) -> Iterator[int]:
        seen = self[:]
        self._then()
        return iter(seen)


@pytest.mark.parametrize("moment", range(4))
@pytest.mark.parametrize("others", [1, 2])
def test_whatever_others_do_between_two_steps_nobody_takes_too_much(
    moment: int, others: int
) -> None:
    rate, readings = Rate(per_second=1, burst=1), 0
    granted: list[bool] = []

    def others_take() -> None:
        nonlocal readings
        readings += 1
        if readings == moment + 1:
            granted.extend(worker.try_take(1000.0) for worker in workers[1 : others + 1])

    taken: Any = Interrupted(others_take)
    base: Any = Interrupted(others_take)
    workers = [SharedRate(rate, taken, base, slot) for slot in range(WORKERS)]
    granted.append(workers[0].try_take(1000.0))
    assert sum(granted) <= 1
    assert sum(granted) == 1 or readings > 2  # the last place may be refused to both
    assert sum(taken) == sum(granted)


HAMMER = """
import mmap, sys
from tcplb.control.shared_rate import SharedRate
from tcplb.policy.rate import Rate

descriptor, slot = map(int, sys.argv[1:])
cells = memoryview(mmap.mmap(descriptor, 64)).cast("q")
rate = SharedRate(Rate(per_second=1, burst=5000), cells[0::2], cells[1::2], slot)
print("ready", flush=True)
sys.stdin.readline()
taken = 0
for number in range(30_000):
    if rate.try_take(1000.0):  # all at one instant, so that there is one burst and no more
        taken += 1
        if number % 3 == 0:
            rate.give_back()
            taken -= 1
print(taken)
"""


def test_four_processes_at_once_take_one_burst_and_no_more() -> None:
    descriptor = shared_file("rate", 64)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, str(descriptor), str(slot)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(descriptor,),
        )
        for slot in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    taken = [int(process.communicate(timeout=WAIT)[0]) for process in processes]
    os.close(descriptor)
    assert [process.returncode for process in processes] == [0] * 4
    # One more for each other worker: what is given back may fill the bucket while it is out.
    assert 5000 <= sum(taken) <= 5003

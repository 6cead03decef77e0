from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.loadgen.tally import Served, Tally
from tcplb.loadgen.timeline import Timeline, second_of


@pytest.mark.parametrize(
    ("at", "number"),
    [
        (-1.0, -2),
        (-0.75, -1),
        (0.0, -1),
        (0.02, 0),
        (0.25, 0),
        (1.0, 0),
        (1.25, 1),
        (2.0, 1),
        (2.003, 1),
        (2.2, 2),
    ],
)
def test_a_tick_belongs_to_the_second_that_it_ends_and_a_little_more_to_the_last(
    at: float, number: int
) -> None:
    assert second_of(at) == number


def test_the_figures_of_a_second_are_of_all_its_ticks() -> None:
    timeline = Timeline()
    for value, opened in ((1_000, 3), (2_000, 7), (3_000, 2)):
        tick = Tally(requests=1, connections=2, backends={"a": Served(1, 2)})
        tick.failures["refused"] = 1
        tick.latency.record(value)
        timeline.add(0, tick, opened)
    (second,) = timeline.complete()
    assert (second.requests, second.connections, second.errors, second.open) == (3, 6, 3, 7)
    assert second.backends == {"a": 3}
    assert second.p50 == pytest.approx(2_000, rel=0.01)
    assert second.p99 == pytest.approx(3_000, rel=0.01)


@given(st.lists(st.tuples(st.integers(-2, 30), st.integers(1, 5)), max_size=60))
def test_nothing_is_lost_and_seconds_ascend_however_late_a_tick_comes(
    ticks: list[tuple[int, int]],
) -> None:
    timeline = Timeline()
    for number, requests in ticks:
        timeline.add(number, Tally(requests=requests), 0)
    seconds = timeline.complete()
    assert sum(second.requests for second in seconds) == sum(requests for _, requests in ticks)
    numbers = [second.number for second in seconds]
    assert numbers == sorted(set(numbers))


def test_of_a_long_run_only_figures_are_kept() -> None:
    timeline = Timeline()
    tracemalloc.start()
    try:
        for number in range(40):
            timeline.add(number, Tally(requests=1), 0)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000  # bytes; each tally has a hundred thousand
    assert len(timeline.complete()) == 40

from __future__ import annotations

import math
from itertools import count, pairwise, takewhile

from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.loadgen.job import Job, Mode, Target
from tcplb.loadgen.pace import Pace

TARGET = Target("localhost:9090", "127.0.0.1", 9090)

rates = st.floats(0.1, 1e5)
ramps = st.just(0.0) | st.floats(0.01, 60)
bursts = st.integers(1, 50)
phases = st.floats(0, 1, exclude_max=True)
paces = st.builds(Pace, rates, ramps, bursts, phases)
numbers = st.integers(0, 100_000)
quick = settings(max_examples=200, deadline=None)


def requests_in(pace: Pace, seconds: float) -> float:
    """The area under the rate: a triangle during the ramp, and a rectangle after it."""
    in_ramp = min(seconds, pace.ramp)
    reached = pace.rate * (in_ramp / pace.ramp if pace.ramp else 1.0)
    return in_ramp * reached / 2 + (seconds - in_ramp) * pace.rate


# -- when they are due ------------------------------------------------------------------------


@given(paces, numbers)
@quick
def test_none_is_due_before_the_one_before_it_or_before_the_start(pace: Pace, number: int) -> None:
    assert 0 <= pace.due(number) <= pace.due(number + 1)


@given(rates, numbers)
@quick
def test_without_a_ramp_the_rate_is_constant(rate: float, number: int) -> None:
    pace = Pace(rate)
    assert pace.due(0) == 0
    assert math.isclose(pace.due(number + 1), (number + 1) / rate)


@given(paces, numbers)
@quick
def test_as_many_are_due_as_the_rate_has_grown_to(pace: Pace, number: int) -> None:
    first_of_burst = number // pace.burst * pace.burst
    due = requests_in(pace, pace.due(number))
    assert math.isclose(due, first_of_burst + pace.phase, rel_tol=1e-6, abs_tol=1e-6)


@given(paces, numbers)
@quick
def test_a_burst_is_due_at_once_and_the_next_one_later(pace: Pace, number: int) -> None:
    first = number * pace.burst
    assert len({pace.due(first + of_burst) for of_burst in range(pace.burst)}) == 1
    assert pace.due(first + pace.burst) > pace.due(first)


def test_a_rate_that_grows_by_10_a_second() -> None:
    pace = Pace(10.0, ramp=1.0)
    assert [round(pace.due(number), 3) for number in (0, 1, 4, 5, 6, 15)] == [
        *(0.0, round(math.sqrt(0.2), 3), round(math.sqrt(0.8), 3)),
        *(1.0, 1.1, 2.0),
    ]


# -- sharing it out ---------------------------------------------------------------------------


@given(rates, ramps, st.integers(2, 8))
@quick
def test_the_requests_of_several_processes_interleave_as_those_of_one(
    rate: float, ramp: float, processes: int
) -> None:
    job = Job(TARGET, Mode.REQUEST, rate=rate, ramp=ramp)
    parts = [Pace.of(part) for part in job.split(processes)]
    together = sorted(part.due(number) for number in range(20) for part in parts)
    alone = [Pace.of(job).due(number) for number in range(20 * processes)]
    assert all(math.isclose(a, b, abs_tol=1e-9) for a, b in zip(together, alone, strict=True))
    assert all(before < after for before, after in pairwise(together))


@given(rates, ramps, st.integers(2, 50), st.integers(2, 8))
@quick
def test_the_parts_of_a_burst_stay_together(
    rate: float, ramp: float, burst: int, processes: int
) -> None:
    job = Job(TARGET, Mode.REQUEST, rate=rate, ramp=ramp, burst=burst)
    parts = [Pace.of(part) for part in job.split(processes)]
    for number in range(10):
        whole = Pace.of(job).due(number * burst)
        for part in parts:
            assert math.isclose(part.due(number * part.burst), whole, abs_tol=1e-9)


def test_a_job_says_how_its_rate_grows() -> None:
    job = Job(TARGET, Mode.REQUEST, rate=50.0, ramp=3.0, burst=7)
    assert Pace.of(job) == Pace(50.0, ramp=3.0, burst=7)


# -- counting them ----------------------------------------------------------------------------


@given(st.builds(Pace, st.floats(0.1, 500), st.floats(0, 5), bursts, phases), st.floats(0, 4))
@quick
def test_those_due_in_a_time_are_those_counted_one_by_one(pace: Pace, seconds: float) -> None:
    by_hand = sum(1 for _ in takewhile(lambda due: due < seconds, map(pace.due, count())))
    assert pace.count_before(seconds) == by_hand


@given(paces, numbers)
@quick
def test_what_is_due_at_the_very_end_is_not_due_before_it(pace: Pace, number: int) -> None:
    due = pace.due(number)
    first_of_burst = number // pace.burst * pace.burst
    assert pace.count_before(due) == first_of_burst
    assert pace.count_before(math.nextafter(due, math.inf)) >= first_of_burst + pace.burst


@given(paces)
@quick
def test_nothing_is_due_in_no_time(pace: Pace) -> None:
    assert pace.count_before(0.0) == pace.count_before(-1.0) == 0

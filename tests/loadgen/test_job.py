from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.loadgen.job import Job, Mode, Target

TARGET = Target("localhost:9090", "127.0.0.1", 9090)

rates = st.none() | st.floats(0.01, 1e6)
processes = st.integers(1, 40)
targets = st.builds(
    Target,
    text=st.text(max_size=10),
    address=st.ip_addresses().map(str),
    port=st.integers(1, 65535),
    path=st.none() | st.just("/é?x=1"),
    host=st.text(max_size=10),
)
jobs = st.builds(
    Job,
    target=targets,
    mode=st.sampled_from(Mode),
    connections=st.integers(1, 300),
    rate=rates,
    burst=st.integers(1, 50),
    ramp=st.floats(0, 60),
    duration=st.floats(0.1, 3600),
    count=st.none() | st.integers(1, 10_000),
    warmup=st.floats(0, 60),
    payload=st.integers(0, 1 << 20),
    paths=st.integers(1, 1000),
    sources=st.integers(1, 1000),
    timeout=st.floats(0.1, 60),
    backend_header=st.text(min_size=1, max_size=10),
    seed=st.integers(),
)
quick = settings(max_examples=200, deadline=None)


# -- sharing out ------------------------------------------------------------------------------


@given(jobs, processes)
@quick
def test_the_parts_add_up_to_the_whole(job: Job, number: int) -> None:
    parts = job.split(number)
    assert sum(part.connections for part in parts) == job.connections
    if job.count is not None:
        assert sum(part.count or 0 for part in parts) == job.count
    if job.rate is not None:
        assert math.isclose(sum(part.rate or 0 for part in parts), job.rate)


@given(jobs, processes)
@quick
def test_no_process_is_without_work(job: Job, number: int) -> None:
    parts = job.split(number)
    assert 1 <= len(parts) <= number
    for part in parts:
        assert part.connections >= 1
        assert part.count is None or part.count >= 1
        assert part.rate is None or part.rate > 0


@given(jobs, processes)
@quick
def test_the_parts_are_as_even_as_they_can_be(job: Job, number: int) -> None:
    parts = job.split(number)
    connections = [part.connections for part in parts]
    assert max(connections) - min(connections) <= 1


@given(jobs, processes)
@quick
def test_bursts_add_up_and_come_equally_often_everywhere(job: Job, number: int) -> None:
    if job.rate is None:
        return
    parts = job.split(number)
    if job.burst == 1:
        assert {part.burst for part in parts} == {1}
        assert {part.rate for part in parts} == {job.rate / len(parts)}
        return
    assert sum(part.burst for part in parts) == job.burst
    for part in parts:
        assert part.rate is not None
        assert math.isclose(part.burst / part.rate, job.burst / job.rate)
        # A process can tell from its own part whether it must keep time with the others.
        assert part.burst > 1


@given(jobs, processes)
@quick
def test_all_else_is_the_same_for_all(job: Job, number: int) -> None:
    parts = job.split(number)
    assert [part.share for part in parts] == list(range(len(parts)))
    assert {part.shares for part in parts} == {len(parts)}
    for name in set(Job.__slots__) - {"connections", "rate", "burst", "count", "share", "shares"}:
        assert {getattr(part, name) for part in parts} == {getattr(job, name)}


@given(jobs)
@quick
def test_one_process_does_the_job_as_it_is(job: Job) -> None:
    assert job.split(1) == [job]


@pytest.mark.parametrize(
    ("job", "number"),
    [
        (Job(TARGET, Mode.ECHO, connections=3), 3),
        (Job(TARGET, Mode.ECHO, connections=64, count=2), 2),
        (Job(TARGET, Mode.ECHO, connections=64, rate=100.0, burst=7), 3),
        (Job(TARGET, Mode.ECHO, connections=64, rate=100.0, burst=2), 1),
        (Job(TARGET, Mode.ECHO, connections=64, rate=100.0), 8),
        (Job(TARGET, Mode.ECHO, connections=64, burst=2), 8),
        (Job(TARGET, Mode.ECHO, connections=64, count=0), 1),
    ],
)
def test_how_many_of_8_processes_have_something_to_do(job: Job, number: int) -> None:
    assert len(job.split(8)) == number


# -- travelling -------------------------------------------------------------------------------


@given(jobs, processes)
@quick
def test_what_was_written_as_json_is_read_again(job: Job, number: int) -> None:
    for part in job.split(number):
        text = part.to_json()
        assert "\n" not in text
        assert Job.from_json(text) == part


def test_a_mode_is_a_mode_again() -> None:
    assert Job.from_json(Job(TARGET, Mode.CONNECT_ONLY).to_json()).mode is Mode.CONNECT_ONLY


@pytest.mark.parametrize("path", [None, "/", "/x?y=1"])
def test_a_target_with_a_path_speaks_http(path: str | None) -> None:
    target = Target("x", "127.0.0.1", 80, path)
    assert target.http is (path is not None)

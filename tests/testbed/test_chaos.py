from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.loadgen.result import ChaosEvent, Outage
from tcplb.testbed.backends import Backends
from tcplb.testbed.balancer import Balancer, Event, SessionLine
from tcplb.testbed.chaos import OUTAGE_TIME, ChaosRun, Step, schedule
from tcplb.testbed.errors import BedError
from tcplb.testbed.outages import Sightings
from tests.processes import WAIT
from tests.testbed.heard import Heard, talk

FIRST_EJECTION = (4.5, 5.5)
"""Seconds that the first ejection of a backend lasts, by default: 5 s, give or take 10 %."""

# -- the schedule -----------------------------------------------------------------------------


def names(number: int) -> list[str]:
    return [f"b{index}" for index in range(number)]


@given(st.integers(2, 6), st.floats(0.1, 300), st.integers())
def test_one_backend_at_a_time_is_killed_and_restarted(
    number: int, duration: float, seed: int
) -> None:
    steps = schedule(names(number), duration, seed=seed)
    assert [step.action for step in steps] == ["kill", "restart"] * (len(steps) // 2)
    assert [step.backend for step in steps[::2]] == [step.backend for step in steps[1::2]]
    assert all(before.at < after.at for before, after in pairwise(steps))
    assert steps[0].at > 0
    assert steps[-1].at < duration
    assert steps == schedule(names(number), duration, seed=seed)


@given(st.integers(2, 6), st.floats(OUTAGE_TIME, 300), st.integers())
def test_each_is_back_before_the_next_is_killed_and_the_run_ends(
    number: int, duration: float, seed: int
) -> None:
    steps = schedule(names(number), duration, seed=seed)
    ends = [*(step.at for step in steps[2::2]), duration]
    for kill, restart, end in zip(steps[::2], steps[1::2], ends, strict=True):
        # The trial at the end of the first ejection meets it up, whenever that began.
        assert restart.at < kill.at + FIRST_EJECTION[0]
        assert end > kill.at + FIRST_EJECTION[1] + 1


@given(st.integers(2, 5), st.integers(1, 12), st.integers())
def test_everybody_has_a_turn_before_anybody_has_two(number: int, outages: int, seed: int) -> None:
    steps = schedule(names(number), outages * OUTAGE_TIME, seed=seed)
    turns = [step.backend for step in steps[::2]]
    assert len(turns) == outages
    for begin in range(0, outages, number):
        several = turns[begin : begin + number]
        assert len(set(several)) == len(several)
    assert all(before != after for before, after in pairwise(turns))


def test_the_seed_decides_who() -> None:
    orders = {
        tuple(step.backend for step in schedule(names(4), 32.0, seed=seed)) for seed in range(50)
    }
    assert len(orders) > 10


@pytest.mark.parametrize(
    ("duration", "times"),
    [(2.0, [0.3, 1.0]), (10.0, [1.2, 4.0]), (20.0, [1.2, 4.0, 11.2, 14.0])],
)
def test_the_times_in_runs_of_several_lengths(duration: float, times: list[float]) -> None:
    steps = schedule(["a", "b"], duration, seed=1)
    assert [step.at for step in steps] == pytest.approx(times)


@pytest.mark.parametrize(("number", "duration"), [(0, 60.0), (1, 60.0), (4, 0.0)])
def test_nothing_is_done_if_none_would_be_left_or_there_is_no_time(
    number: int, duration: float
) -> None:
    assert schedule(names(number), duration, seed=1) == []


# -- what came of it --------------------------------------------------------------------------

BEGAN = 1000.0


def event(kind: str, at: float, backend: str = "a") -> Event:
    return Event(BEGAN + at, kind, backend, "info", f"{backend} {kind}")


def session(
    at: float,
    backend: str | None = "a",
    *,
    attempts: int = 1,
    took: float = 0.0,
    connect: float = 0.0,
    termination: str = "--",
) -> SessionLine:
    """A session that ended at `at`, `took` seconds after its accept."""
    return SessionLine(
        at=BEGAN + at,
        backend=backend,
        attempts=attempts,
        bytes_up=0,
        bytes_down=0,
        active_on_backend=1,
        connect_ms=round(connect * 1000),
        total_ms=round(took * 1000),
        termination=termination,
        client="c",
        key="",
    )


def seen(*what: Event | SessionLine, restarted: bool = True) -> Sightings:
    """Backend a is killed at 2.5 and started again at 5.0; it listens at 5.25."""
    sightings = Sightings()
    sightings.session(session(1.0))
    sightings.killed("a", BEGAN + 2.5, "killed a")
    if restarted:
        sightings.restarted("a", BEGAN + 5.0, BEGAN + 5.25, "restarted a")
    for each in what:
        if isinstance(each, Event):
            sightings.event(each)
        else:
            sightings.session(each)
    return sightings


def outage(sightings: Sightings, errors: dict[int, int] | None = None) -> Outage:
    (only,) = sightings.chaos(BEGAN, errors or {}).outages
    return only


def test_an_outage_from_the_kill_to_the_return() -> None:
    sightings = seen(event("ejected", 2.75), event("returned", 7.75))
    assert outage(sightings) == Outage("a", 2.5, 5.25, 0.25, 2.5, errors=0, retries=0)


def test_events_are_told_in_their_order_with_their_words() -> None:
    sightings = seen(event("ejected", 2.75), event("log", 3.0), event("returned", 7.75))
    assert list(sightings.chaos(BEGAN, {}).events) == [
        ChaosEvent(2.5, "killed", "a", "killed a"),
        ChaosEvent(2.75, "ejected", "a", "a ejected"),
        ChaosEvent(5.25, "restarted", "a", "restarted a"),
        ChaosEvent(7.75, "returned", "a", "a returned"),
    ]


def test_a_session_on_it_is_its_return_too_whichever_comes_first() -> None:
    assert outage(seen(session(5.5))).seconds_to_return == 0.25
    assert outage(seen(session(5.5), event("returned", 5.75))).seconds_to_return == 0.25
    assert outage(seen(session(6.0), event("returned", 5.75))).seconds_to_return == 0.5
    assert outage(seen(session(6.0), session(5.5), session(7.0))).seconds_to_return == 0.25


def test_the_return_is_when_a_session_got_its_connection_not_when_it_ended() -> None:
    assert outage(seen(session(9.0, took=3.5, connect=0.25))).seconds_to_return == 0.5


def test_a_connection_before_we_know_that_it_listens_is_a_return_at_once() -> None:
    assert outage(seen(session(5.125))).seconds_to_return == 0.0


@pytest.mark.parametrize(
    "line",
    [
        session(6.0, took=4.0),  # it had its connection before the kill
        session(6.0, "b"),
        session(6.0, None, attempts=0, termination="SC"),
        session(6.0, termination="SC"),
        event("returned", 4.0),
        event("returned", 6.0, "b"),
    ],
)
def test_what_is_no_return(line: Event | SessionLine) -> None:
    assert outage(seen(line)).seconds_to_return is None


def test_one_that_is_not_restarted_does_not_return() -> None:
    found = outage(seen(event("returned", 6.0), session(6.0), restarted=False), {2: 1, 90: 1})
    assert (found.restarted_at, found.seconds_to_return) == (None, None)
    assert found.errors == 2


def test_the_first_ejection_counts_and_only_one_of_that_backend() -> None:
    assert outage(seen()).seconds_to_eject is None
    assert outage(seen(event("ejected", 3.0, "b"))).seconds_to_eject is None
    assert outage(seen(event("ejected", 3.0), event("ejected", 4.0))).seconds_to_eject == 0.5
    assert outage(seen(event("returned", 6.0), event("ejected", 8.0))).seconds_to_eject is None


def test_errors_are_those_of_the_seconds_that_it_touches() -> None:
    errors = {1: 1, 2: 10, 5: 100, 7: 1000, 8: 10_000}
    assert outage(seen(event("returned", 7.75)), errors).errors == 1110


def test_retries_are_those_between_the_kill_and_the_return() -> None:
    sightings = seen(
        session(2.25, "b", attempts=2),
        session(2.498, "b", attempts=2),  # as if before it: the log has whole milliseconds
        session(3.0, "b", attempts=3),
        session(90.0, "b", attempts=2, took=87.0),  # a long one, connected in time
        session(7.75, "b", attempts=2),
        session(8.0, "b", attempts=2),
        session(8.0, None, attempts=0, termination="CR"),
        event("returned", 7.75),
    )
    assert outage(sightings).retries == 5
    assert sightings.chaos(BEGAN, {}).retries == {2: 2, 3: 3, 7: 1, 8: 1}


def test_each_outage_has_its_own() -> None:
    sightings = seen(event("ejected", 2.75))
    sightings.killed("b", BEGAN + 10.0, "killed b")
    sightings.event(event("ejected", 10.5, "b"))
    sightings.session(session(11.0, "c", attempts=2))
    sightings.restarted("b", BEGAN + 12.0, BEGAN + 12.0, "restarted b")
    sightings.session(session(13.0, "b"))
    sightings.killed("a", BEGAN + 20.0, "killed a")
    sightings.event(event("ejected", 20.125))
    first, second, third = sightings.chaos(BEGAN, {2: 1, 11: 10, 25: 100}).outages
    # The first one has not returned, and is to blame until the second.
    assert first == Outage("a", 2.5, 5.25, 0.25, None, errors=1, retries=0)
    assert second == Outage("b", 10.0, 12.0, 0.5, 1.0, errors=10, retries=1)
    assert third == Outage("a", 20.0, None, 0.125, None, errors=100, retries=0)


# -- with real processes ----------------------------------------------------------------------

EJECTIONS_OF_A_SECOND = """
[pools.default]
backends = [{address = "127.0.0.1:1"}]
eject = {base_time = "1s", step = "0s"}
"""


async def served(balancer: Balancer) -> bool:
    """Whether a connection went well from its beginning to its end."""
    try:
        return await talk(balancer.address) == b"\x01hello"
    except ConnectionResetError:
        return False


async def test_a_run_with_a_load(tmp_path: Path) -> None:
    config = tmp_path / "tcplb.toml"
    config.write_text(EJECTIONS_OF_A_SECOND)
    returned, told = Heard[Event](), Heard[ChaosEvent]()
    async with Backends(ports=(0, 0)) as backends:
        victim = backends.names[1]
        steps = [Step(0.1, "kill", victim), Step(0.5, "restart", victim)]
        chaos = ChaosRun(backends, steps, on_step=told)

        def on_event(event: Event) -> None:
            chaos.event(event)
            if event.kind == "returned":
                returned(event)

        async with Balancer(
            backends.names,
            strategy="round-robin",
            flags=("--config", str(config)),
            on_event=on_event,
            on_session=chaos.session,
        ) as balancer:
            began = time.monotonic()
            run = asyncio.create_task(chaos.run(began), name="chaos")
            failures = 0
            async with asyncio.timeout(WAIT):
                while not (run.done() and returned.all):
                    failures += not await served(balancer)
                await run
        assert backends.alive(victim)
    assert failures <= 1  # the connection that the killed one had
    result = chaos.result(began, {0: 7})
    (found,) = result.outages
    assert found.backend == victim
    assert found.restarted_at is not None
    assert found.restarted_at > found.killed_at
    assert found.seconds_to_eject is not None
    assert found.seconds_to_return is not None
    assert found.errors == 7
    assert found.retries == sum(result.retries.values()) >= 3  # so many failures eject
    kinds = [event.kind for event in result.events]
    assert kinds[:2] == ["killed", "ejected"]
    assert kinds[-1] == "returned"
    assert [(event.kind, event.backend) for event in told.all] == [
        ("killed", victim),
        ("restarted", victim),
    ]
    assert all(event in result.events for event in told.all)


async def test_one_that_cannot_be_restarted_is_an_error() -> None:
    async with Backends(ports=(0, 0)) as backends:
        victim, _ = backends.names
        chaos = ChaosRun(backends, [Step(0.0, "kill", victim), Step(0.0, "restart", victim)])
        host, _, port = victim.rpartition(":")
        await backends.kill(victim)
        server = await asyncio.start_server(lambda _, writer: writer.close(), host, int(port))
        async with server:
            with pytest.raises(BedError, match=f"cannot listen on {victim}"):
                await chaos.run(time.monotonic())
    assert [event.kind for event in chaos.result(0.0, {}).events] == ["killed"]

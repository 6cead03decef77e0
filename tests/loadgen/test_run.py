"""Whole runs, in processes of their own: what they tell is what the targets have counted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echo_backends import EchoServer
from echo_backends.naming import answer
from tcplb.loadgen.errors import ProcessError
from tcplb.loadgen.job import Job, Mode
from tcplb.loadgen.naming import QUESTION
from tcplb.loadgen.run import Run
from tcplb.loadgen.tally import Served
from tests.loadgen.loads import http, job, load, load_processes, tcp
from tests.peers import eventually
from tests.processes import Running, balancer

LONG = 600.0
"""Seconds that no test waits for."""


@pytest.fixture
async def server() -> AsyncIterator[EchoServer]:
    async with EchoServer() as server:
        yield server


# -- the same as the targets have counted ------------------------------------------------------

processes = pytest.mark.parametrize("processes", [1, 2])


@processes
async def test_requests_are_those_of_the_server(server: EchoServer, processes: int) -> None:
    result = await load(job(http(server), Mode.REQUEST, count=501), processes=processes)
    total = result.total
    assert result.processes == processes
    assert total.requests == server.requests == 501
    assert total.connections == server.connections == 4
    assert total.backends == {server.address: Served(501, 4)}
    assert (total.errors, dict(total.statuses)) == (0, {200: 501})
    assert total.latency.count == total.first_byte.count == 501
    assert total.connect.count == 4
    assert not result.interrupted


@processes
async def test_connections_of_one_request_each(server: EchoServer, processes: int) -> None:
    total = (await load(job(http(server), Mode.CONNECT, count=101), processes=processes)).total
    assert total.requests == total.connections == server.connections == server.requests == 101
    assert total.backends == {server.address: Served(101, 101)}
    assert (total.errors, total.latency.count, total.connect.count) == (0, 101, 101)


@processes
async def test_connections_of_one_echo_each(server: EchoServer, processes: int) -> None:
    total = (await load(job(tcp(server), Mode.CONNECT, count=101), processes=processes)).total
    assert total.requests == total.connections == server.connections == server.names_asked == 101
    assert total.backends == {server.address: Served(101, 101)}
    assert (total.errors, server.echoed) == (0, 101 * 64)


@processes
async def test_every_byte_of_an_echo(server: EchoServer, processes: int) -> None:
    wanted = job(tcp(server), Mode.ECHO, count=301, payload=1000)
    total = (await load(wanted, processes=processes)).total
    assert total.requests == total.latency.count == 301
    assert total.connections == server.connections == server.names_asked == 4
    assert server.echoed == 301_000
    assert total.bytes_sent == 301_000 + 4 * len(QUESTION)
    assert total.bytes_received == 301_000 + 4 * len(answer(server.address))
    assert (total.errors, total.backends) == (0, {server.address: Served(301, 4)})


@processes
async def test_connections_without_a_word(server: EchoServer, processes: int) -> None:
    total = (await load(job(tcp(server), Mode.CONNECT_ONLY, count=301), processes=processes)).total
    await eventually(lambda: server.connections >= 301)
    assert total.requests == total.connections == server.connections == 301
    assert (total.errors, total.bytes_sent, total.bytes_received) == (0, 0, 0)
    assert total.latency.count == total.connect.count == 301


async def test_an_echo_over_http(server: EchoServer) -> None:
    total = (await load(job(http(server, "/echo"), Mode.ECHO, count=51, payload=3000))).total
    assert (total.requests, server.requests, total.errors) == (51, 51, 0)
    assert total.backends == {server.address: Served(51, 4)}


@pytest.mark.parametrize("mode", [Mode.REQUEST, Mode.CONNECT, Mode.CONNECT_ONLY, Mode.ECHO])
async def test_requests_at_a_rate_are_counted_exactly(server: EchoServer, mode: Mode) -> None:
    target = http(server, "/echo")
    wanted = job(target, mode, connections=8, rate=2000.0, count=101)
    total = (await load(wanted, processes=2)).total
    assert (total.requests, total.errors, total.latency.count) == (101, 0, 101)
    if mode is not Mode.CONNECT_ONLY:
        assert server.requests == 101


async def test_more_clients_than_requests_do_not_make_more(server: EchoServer) -> None:
    total = (await load(job(http(server), Mode.REQUEST, connections=50, count=3))).total
    assert total.requests == server.requests == 3


async def test_the_shares_of_several_backends_are_their_own_counts() -> None:
    async with EchoServer() as one, EchoServer() as two, EchoServer() as three:
        servers = (one, two, three)
        with balancer(backends=[server.port for server in servers]) as (_, port):
            for mode in (Mode.REQUEST, Mode.CONNECT):
                before = [(server.requests, server.connections) for server in servers]
                target = replace(http(one), port=port)
                wanted = job(target, mode, connections=7, count=101)
                total = (await load(wanted, processes=2)).total
                assert total.errors == 0
                assert total.backends == {
                    server.address: Served(
                        server.requests - requests, server.connections - connections
                    )
                    for server, (requests, connections) in zip(servers, before, strict=True)
                }
                assert all(served.requests for served in total.backends.values())
                assert sum(served.requests for served in total.backends.values()) == 101


async def test_keys_that_are_sent_elsewhere_have_moved() -> None:
    async with EchoServer() as one, EchoServer() as two:
        with balancer(backends=[one.port, two.port]) as (_, port):
            target = replace(http(one), port=port)
            wanted = job(target, Mode.CONNECT, connections=1, count=9, paths=3)
            total = (await load(wanted)).total
            # In turns: each of the three paths meets the other backend every time.
            assert (total.keys, total.keys_moved, total.moves) == (3, 3, 6)
            total = (await load(replace(wanted, warmup=0.2))).total
            # All have moved in the warm-up already; one request may be begun there and end later.
            assert (total.keys, total.keys_moved) == (3, 3)
            assert 9 <= total.moves <= 10


# -- the timeline and the warm-up --------------------------------------------------------------


async def test_the_seconds_add_up_to_the_total_and_so_do_the_ticks(server: EchoServer) -> None:
    ticks: list[tuple[float, int]] = []
    wanted = job(http(server), Mode.REQUEST, rate=400.0, duration=1.25)
    result = await load(
        wanted,
        processes=2,
        on_tick=lambda at, tally: ticks.append((at, tally.requests)),
    )
    assert [second.number for second in result.timeline] == [0, 1]
    total = result.total
    assert sum(second.requests for second in result.timeline) == total.requests
    assert sum(second.connections for second in result.timeline) == total.connections == 4
    assert max(second.open for second in result.timeline) == total.open == 4
    assert result.total.requests == server.requests == 500
    assert sum(requests for _, requests in ticks) == 500
    assert max(at for at, _ in ticks) == result.seconds >= 1.25


async def test_a_warm_up_is_in_the_timeline_but_in_no_total(server: EchoServer) -> None:
    wanted = job(http(server), Mode.REQUEST, rate=400.0, duration=0.25, warmup=1.1, paths=4)
    result = await load(wanted, processes=2)
    assert [second.number for second in result.timeline] == [-2, -1, 0]
    assert sum(second.requests for second in result.timeline) == server.requests == 540
    total = result.total
    assert total.requests == total.latency.count == total.statuses[200]
    assert 0 < total.requests < 540
    # Which connections there are, and whose, is still so.
    assert total.connections == 4
    assert total.connect.count == 0
    assert total.backends == {server.address: Served(total.requests, 4)}
    assert total.keys == 4


async def test_connections_that_ended_in_the_warm_up_are_in_no_total(server: EchoServer) -> None:
    result = await load(job(http(server), Mode.CONNECT, rate=200.0, duration=0.3, warmup=0.25))
    assert sum(second.requests for second in result.timeline) == server.requests == 110
    total = result.total
    assert 0 < total.requests < 110
    assert total.backends == {server.address: Served(total.requests, total.requests)}
    assert total.connections <= total.connect.count + 4 < 110


async def test_no_rounding_makes_a_request_that_was_never_due(server: EchoServer) -> None:
    # 0.1 + 0.2 is a hair more than 0.3, when number 30 would be due.
    result = await load(
        job(http(server), Mode.REQUEST, rate=100.0, warmup=0.1, duration=0.2, timeout=30.0)
    )
    assert server.requests == 30
    assert result.total.errors == 0
    assert result.seconds < LONG


async def test_what_is_counted_begins_after_the_warm_up(server: EchoServer) -> None:
    wanted = job(tcp(server), Mode.CONNECT_ONLY, connections=3, count=50, warmup=0.1)
    total = (await load(wanted)).total
    # What was begun in the warm-up may end after it, but a client has one of these at most.
    assert 50 <= total.requests <= 53


# -- ending it ---------------------------------------------------------------------------------


async def test_a_run_that_is_stopped_returns_what_was_measured_so_far(server: EchoServer) -> None:
    run = Run(job(http(server), Mode.REQUEST, duration=LONG), processes=2)
    running = asyncio.create_task(run.run())
    await run.begun.wait()
    await eventually(lambda: server.requests > 100)
    assert all(os.getpgid(pid) != os.getpgrp() for pid in load_processes())  # ^C is not for them
    run.stop()
    result = await running
    assert result.interrupted
    assert result.total.errors == 0
    assert 0 < result.total.requests <= server.requests
    # Of each client one answer at most was on its way.
    assert server.requests - result.total.requests <= 4
    assert load_processes() == set()


@pytest.mark.parametrize("mode", [Mode.CONNECT_ONLY, Mode.BULK, Mode.IDLE, Mode.CHURN])
async def test_any_mode_can_be_stopped(server: EchoServer, mode: Mode) -> None:
    run = Run(job(http(server, "/echo"), mode, connections=8, duration=LONG))
    running = asyncio.create_task(run.run())
    await run.begun.wait()
    await eventually(lambda: server.connections >= 1)
    run.stop()
    result = await running
    assert (result.interrupted, result.total.errors) == (True, 0)
    await eventually(lambda: server.open_connections == 0)


async def test_a_run_that_is_stopped_before_it_begins(server: EchoServer) -> None:
    run = Run(job(http(server), Mode.REQUEST, duration=LONG), processes=2)
    run.stop()
    result = await run.run()
    assert result.interrupted
    assert result.processes == 2


async def test_a_run_that_is_stopped_while_its_processes_start(server: EchoServer) -> None:
    run = Run(job(http(server), Mode.REQUEST, duration=LONG), processes=2)
    running = asyncio.create_task(run.run())
    await eventually(lambda: len(load_processes()) == 2)
    assert not run.begun.is_set()
    run.stop()
    result = await running
    assert result.interrupted


async def test_stopping_what_is_over_does_nothing(server: EchoServer) -> None:
    run = Run(job(http(server), Mode.REQUEST, count=5))
    result = await run.run()
    run.stop()
    run.stop()
    assert (result.interrupted, result.total.requests) == (False, 5)


@pytest.mark.parametrize("begun", [False, True])
async def test_no_process_is_left_of_a_run_that_is_cancelled(
    server: EchoServer, begun: bool
) -> None:
    run = Run(job(http(server), Mode.REQUEST, duration=LONG), processes=2)
    running = asyncio.create_task(run.run())
    if begun:
        await run.begun.wait()
        await eventually(lambda: server.requests > 0)
    else:
        await eventually(lambda: bool(load_processes()))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert load_processes() == set()
    await eventually(lambda: server.open_connections == 0)


async def test_a_process_that_is_killed_is_an_error_that_says_so(server: EchoServer) -> None:
    run = Run(job(http(server), Mode.REQUEST, duration=LONG), processes=2)
    running = asyncio.create_task(run.run())
    await run.begun.wait()
    await eventually(lambda: server.requests > 0)
    os.kill(min(load_processes()), signal.SIGKILL)
    with pytest.raises(ProcessError, match="a process of the load was killed by SIGKILL"):
        await running
    assert load_processes() == set()


async def test_a_process_that_is_killed_before_it_is_ready(server: EchoServer) -> None:
    running = asyncio.create_task(load(job(http(server), Mode.REQUEST, duration=LONG)))
    await eventually(lambda: bool(load_processes()))
    os.kill(min(load_processes()), signal.SIGKILL)
    with pytest.raises(ProcessError, match="was killed by SIGKILL"):
        await running


async def test_a_process_that_cannot_do_its_job_says_why(server: EchoServer) -> None:
    with pytest.raises(ProcessError) as raised:
        await load(job(tcp(server), Mode.REQUEST, count=1))
    assert str(raised.value) == (
        "a process of the load ended with 1: ValueError: request is not for test"
    )


def runs(wanted: Job, wrapper: tuple[str, ...] = ()) -> Running:
    """A process of its own that runs a job."""
    module = (sys.executable, "-m", "tests.loadgen.run_job", wanted.to_json())
    return Running([*wrapper, *module])


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_the_processes_end_with_the_one_that_started_them(server: EchoServer) -> None:
    with runs(job(http(server), Mode.REQUEST, duration=LONG)) as running:
        await eventually(lambda: server.requests > 0)
        pids = running.children()
        assert len(pids) == 2
        running.process.kill()
        await eventually(lambda: not any(alive(pid) for pid in pids))
        await eventually(lambda: server.open_connections == 0)


async def test_they_end_too_if_it_dies_before_they_begin(server: EchoServer) -> None:
    with runs(job(http(server), Mode.REQUEST, duration=LONG)) as running:
        await eventually(lambda: len(running.children()) == 2)
        pids = running.children()
        running.process.kill()
        await eventually(lambda: not any(alive(pid) for pid in pids))
    assert server.requests == 0


async def test_a_load_takes_the_descriptors_that_it_may_have(server: EchoServer) -> None:
    wanted = job(http(server), Mode.REQUEST, connections=80, count=200)
    with runs(wanted, wrapper=("prlimit", "--nofile=32:1024")) as running:
        assert await asyncio.to_thread(running.wait) == 0
        assert json.loads(running.lines[-1]) == [200, {}]
    assert server.connections == 80


async def test_a_load_without_a_descriptor_left_says_so_and_goes_on(server: EchoServer) -> None:
    wanted = job(http(server), Mode.REQUEST, connections=80, duration=0.5)
    with runs(wanted, wrapper=("prlimit", "--nofile=32:32")) as running:
        assert await asyncio.to_thread(running.wait) == 0
        requests, failures = json.loads(running.lines[-1])
    assert requests > 0
    assert set(failures) == {"no file descriptor left in the load generator"}
    assert server.connections <= 2 * 32


# -- what a process has to do with others ------------------------------------------------------


async def test_the_beginning_is_known_before_anything_is_counted(server: EchoServer) -> None:
    run = Run(job(http(server), Mode.REQUEST, count=5))
    before = (run.began, run.begun.is_set())
    running = asyncio.create_task(run.run())
    await run.begun.wait()
    assert before == (None, False)
    assert run.began is not None
    assert server.requests == 0
    await running


@pytest.mark.parametrize(
    ("changes", "number"),
    [({"connections": 2}, 2), ({"connections": 9, "count": 3}, 3), ({"connections": 1}, 1)],
)
async def test_there_are_no_processes_without_work(
    server: EchoServer, changes: dict[str, Any], number: int
) -> None:
    wanted = job(http(server), Mode.REQUEST, **{"count": 10} | changes)
    assert (await load(wanted, processes=4)).processes == number

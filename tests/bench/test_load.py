"""The load generator against the real backends."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from bench.cores import Policy
from bench.load.client import LoadError, WrongAnswerError, ask
from bench.load.job import Job, Kind
from bench.running import backends, do, load


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with backends(Policy.BATCH) as ports:
        yield ports[0]


def job(kind: Kind, port: int, *, rate: float = 0.0) -> Job:
    return Job(kind, port, os.getpid(), connections=4, seconds=0.1, lead_in=0.02, rate=rate)


@pytest.mark.parametrize("kind", [Kind.CONNECTS, Kind.REQUESTS, Kind.BULK])
def test_a_load_does_its_work(port: int, kind: Kind) -> None:
    done = do(job(kind, port))
    assert done["units"] > 0
    assert done["seconds"] >= 0.1


def test_latencies_are_in_order(port: int) -> None:
    done = do(job(Kind.REQUESTS, port))
    assert 0 < done["p50"] <= done["p99"] <= done["p99.9"]


def test_an_open_loop_sends_what_is_due_and_no_more(port: int) -> None:
    done = do(job(Kind.OPEN_LOOP, port, rate=200.0))
    assert 0 < done["units"] <= 200 * (done["seconds"] + 0.1)


def test_idle_pairs_are_all_opened(port: int) -> None:
    assert do(job(Kind.IDLE_PAIRS, port))["units"] == 4


def test_a_load_can_be_stopped_when_it_has_done_its_part(port: int) -> None:
    endless = Job(Kind.BULK, port, os.getpid(), connections=2, seconds=600, lead_in=0.02)
    with load(endless) as running:
        running.wait_begun()
        running.stop()
        assert running.result()["seconds"] < 600


def test_a_refused_connection_is_an_error_with_a_reason() -> None:
    with backends(Policy.BATCH) as ports:
        gone = ports[0]
    with pytest.raises(LoadError, match="refused"):
        do(job(Kind.CONNECTS, gone))


def test_a_wrong_answer_shows_what_came() -> None:
    assert "b'HTTP/1.1 500'" in str(WrongAnswerError(b"HTTP/1.1 500"))
    assert str(WrongAnswerError(b"")) == "closed before the answer"


def test_a_job_survives_the_command_line() -> None:
    before = Job(Kind.OPEN_LOOP, 1, 2, 3, seconds=0.5, rate=7.0, policy=Policy.IDLE)
    assert Job.from_json(before.to_json()) == before


def test_a_backend_answers_a_single_question(port: int) -> None:
    ask(port, timeout=10)

"""The lines are made by what makes them in the balancer, so that the two cannot drift apart."""

from __future__ import annotations

import logging
from dataclasses import replace
from random import Random

import pytest

from tcplb.control.logs import Logs
from tcplb.dataplane.health_log import log_transition
from tcplb.dataplane.record import NOT_ACTIVE, to_json, to_tcplog
from tcplb.dataplane.termination import Termination
from tcplb.policy.backend import Backend
from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.names import StrategyName
from tcplb.policy.outcome import Outcome
from tcplb.policy.pool import Pool
from tcplb.policy.rules import PoolRules
from tcplb.policy.strategy import MakeStrategy
from tcplb.testbed.log_lines import Event, SessionLine, read_event, read_session
from tests.records import RECORD

Capture = pytest.CaptureFixture[str]

BACKENDS = [Backend(f"127.0.0.1:{port}", "127.0.0.1", port) for port in (8081, 8082)]
POLICY = EjectPolicy(failures=1, base_time=5.0, step=5.0, jitter=0.0)


def dial(pool: Pool, outcome: Outcome, now: float) -> None:
    """Dial the first backend, and log what comes of it."""
    other = BACKENDS[1].name
    lease = pool.acquire(b"", now=now, exclude=(other,))
    assert lease is not None
    if lease.trial:
        log_transition(pool.name, pool.trial_begun(lease, until=now + 1))
    transition = pool.observe(lease, outcome, now=now + 0.25)
    assert transition is not None
    log_transition(pool.name, transition)
    pool.release(lease)


def lines(capfd: Capture) -> list[str]:
    return capfd.readouterr().err.splitlines()


def test_a_backend_that_is_ejected_and_returns(capfd: Capture) -> None:
    make = MakeStrategy(StrategyName.ROUND_ROBIN, Random(1))
    pool = Pool("web", BACKENDS, make, rng=Random(1), rules=PoolRules(eject=POLICY))
    with Logs("none", "json", "debug"):
        dial(pool, Outcome.REFUSED, 100.0)
        dial(pool, Outcome.TIMED_OUT, 106.0)
        dial(pool, Outcome.CONNECTED, 120.0)
    ejected, trial, again, second_trial, back = (read_event(line, 7.5) for line in lines(capfd))
    assert ejected == Event(
        7.5,
        "ejected",
        "127.0.0.1:8081",
        "warning",
        "pool web: backend 127.0.0.1:8081 ejected for 5.0 s: "
        "1 connects in a row failed in 250 ms, the last one refused",
    )
    assert (again.kind, again.backend) == ("ejected", "127.0.0.1:8081")
    assert again.text.endswith("ejected for 10.0 s: its trial connect was timed out")
    assert back == Event(
        7.5,
        "returned",
        "127.0.0.1:8081",
        "info",
        "pool web: backend 127.0.0.1:8081 is back: a connect succeeded",
    )
    assert (trial.kind, trial.backend, trial.level) == ("log", "", "debug")
    assert second_trial == trial


def test_another_line_is_just_that(capfd: Capture) -> None:
    lookalike = "pool web: backend b1 is back: a connect succeeded"
    with Logs("none", "json", "info", worker=2):
        logging.getLogger("tcplb.server").error("%d sessions\nlost", 3)
        logging.getLogger("tcplb.server").info(lookalike)
        logging.getLogger("tcplb.health").info("something else")
    assert [read_event(line, 1.0) for line in lines(capfd)] == [
        Event(1.0, "log", "", "error", "3 sessions\nlost"),
        Event(1.0, "log", "", "info", lookalike),
        Event(1.0, "log", "", "info", "something else"),
    ]


@pytest.mark.parametrize(
    "line", ["tcplb: cannot listen", "", "7", "[]", '"message"', "{", '{"level": "info"}', "\x00"]
)
def test_what_is_no_line_of_the_log_is_passed_on_as_it_is(line: str) -> None:
    assert read_event(line, 1.0) == Event(1.0, "log", "", "error", line)
    assert read_session(line, 0.0) is None


def test_a_session() -> None:
    record = replace(RECORD, attempts=3, key=b"/\xff\n", termination=Termination.BACKEND_RESET)
    assert read_session(to_json(record), -1795356000.0) == SessionLine(
        at=187.125 + 0.057,
        backend="b1",
        attempts=3,
        bytes_up=78,
        bytes_down=212,
        active_on_backend=1,
        connect_ms=1,
        total_ms=57,
        termination="SD",
        client="127.0.0.1:51234",
        key="/\\xff\n",
    )


def test_a_session_without_a_backend() -> None:
    record = replace(
        RECORD,
        client_host="::1",
        backend=None,
        attempts=0,
        classified=None,
        connected=None,
        key=b"",
        active=NOT_ACTIVE,
        termination=Termination.CLIENT_RESET_EARLY,
    )
    session = read_session(to_json(record), 0.0)
    assert session is not None
    assert (session.backend, session.attempts, session.connect_ms) == (None, 0, -1)
    assert (session.client, session.key, session.termination) == ("[::1]:51234", "", "CR")


def test_a_line_of_another_kind_is_no_session(capfd: Capture) -> None:
    with Logs("none", "json", "info"):
        logging.getLogger("tcplb.server").info("hello")
    assert read_session(lines(capfd)[0], 0.0) is None
    assert read_session(to_tcplog(RECORD), 0.0) is None
    assert read_event(to_json(RECORD), 1.0).kind == "log"

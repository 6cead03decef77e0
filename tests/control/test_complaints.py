from __future__ import annotations

import logging

import pytest

from tcplb.config.models import BackendConfig, PoolConfig
from tcplb.control.complaints import INTERVAL, Complaints
from tcplb.control.plan import plan_pool
from tcplb.dataplane.counters import Counters

PLAN = plan_pool(
    "web", PoolConfig(strategy="rack:near", backends=(BackendConfig(address="10.0.0.1:80"),))
)


class Worker:
    def __init__(self) -> None:
        self.now = 1000.0
        self.counters = Counters()
        self.complaints = Complaints(PLAN, self.counters, lambda: self.now)


@pytest.fixture
def worker(caplog: pytest.LogCaptureFixture) -> Worker:
    caplog.set_level(logging.DEBUG, "tcplb.strategy")
    return Worker()


def test_each_is_counted(worker: Worker) -> None:
    for _ in range(5):
        worker.complaints.hear("raised ValueError")
    assert worker.counters == Counters(strategy_failures=5)


def test_the_first_one_is_logged_at_once(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    worker.complaints.hear("raised ValueError: no")
    assert caplog.record_tuples == [
        (
            "tcplb.strategy",
            logging.ERROR,
            "pool web: strategy rack:near: raised ValueError: no; round robin was used "
            "(1 times since the last line)",
        )
    ]


def test_a_thousand_within_a_minute_make_one_line(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(1000):
        worker.complaints.hear("x")
        worker.now += INTERVAL / 1001
    assert len(caplog.records) == 1
    assert worker.counters.strategy_failures == 1000


def test_after_a_minute_the_next_one_makes_a_line_that_says_how_many_there_were(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    for reason in ("first", "second", "third"):
        worker.complaints.hear(reason)
    worker.now += INTERVAL
    worker.complaints.hear("fourth")
    worker.now += INTERVAL
    worker.complaints.hear("fifth")
    assert [record.getMessage().split(": ", 2)[2] for record in caplog.records] == [
        "first; round robin was used (1 times since the last line)",
        "fourth; round robin was used (3 times since the last line)",
        "fifth; round robin was used (1 times since the last line)",
    ]
    assert worker.counters.strategy_failures == 5


def test_a_minute_is_60_seconds() -> None:
    assert INTERVAL == 60.0


def test_what_a_reason_says_is_no_format(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    worker.complaints.hear("named '%s %d', which is no backend")
    assert "named '%s %d', which" in caplog.text


def test_pools_complain_apart(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    other = Complaints(PLAN, worker.counters, lambda: worker.now)
    worker.complaints.hear("x")
    other.hear("x")
    assert len(caplog.records) == 2
    assert worker.counters.strategy_failures == 2

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.cli.ctl.balancer import Balancer
from tests.processes import WAIT, Running, eventually, tcplb

RECORD: dict[str, Any] = {
    "time": "2026-11-22T13:03:07.123Z",
    "client": "10.0.0.1:51234",
    "listener": "web",
    "pool": "web",
    "backend": "b1",
    "key": "/x",
    "classify_ms": 0,
    "queue_ms": 0,
    "queue_ahead": 0,
    "connect_ms": 1,
    "total_ms": 57,
    "bytes_up": 78,
    "bytes_down": 212,
    "attempts": 2,
    "active": {"process": 3, "listener": 3, "pool": 2, "backend": 1},
    "termination": "--",
    "reason": "",
}


def tap(balancer: Balancer, *options: str) -> Running:
    running = tcplb("ctl", "tap", *options, environment=balancer.environment)
    eventually(lambda: bool(balancer.do(lambda control: len(control.taps))))
    return running


def end(balancer: Balancer, **values: object) -> None:
    balancer.do(lambda control: control.end({**RECORD, **values}))


def test_lines_of_the_access_log(balancer: Balancer) -> None:
    with tap(balancer) as running:
        end(balancer)
        running.wait_for(
            r"^10\.0\.0\.1:51234 \[22/Nov/2026:\d\d:03:07\.123\] web web/b1 0/1/57 212 -- "
            r"3/3/2/1/\+1 0/0 78$"
        )
        running.signal(signal.SIGINT)
        assert running.wait() == 130
        assert len(running.lines) == 1


def test_it_says_how_many_it_has_left_out(balancer: Balancer) -> None:
    with tap(balancer, "--count", "1", "--format", "json") as running:
        balancer.do(lambda control: control.end(RECORD, lost=1200))
        assert running.wait() == 0
        note, line = sorted(running.lines, key=lambda each: each.startswith("{"))
    assert note == "tcplb: 1,200 connections left out: they came too fast"
    assert json.loads(line) == RECORD


def test_so_many_and_no_more(balancer: Balancer) -> None:
    with tap(balancer, "--count", "2", "--format", "json") as running:
        for number in range(3):
            end(balancer, bytes_up=number)
        assert running.wait() == 0
        assert [json.loads(line)["bytes_up"] for line in running.lines] == [0, 1]
    assert json.loads(running.lines[0]) == {**RECORD, "bytes_up": 0}


@pytest.mark.parametrize(
    "wanted",
    [
        ("--termination", "S?"),
        ("--listener", "db"),
        ("--backend", "b2"),
        ("--backend", "web/b2"),
        ("--client", "10.9.0.0/16"),
    ],
)
def test_filters(balancer: Balancer, wanted: tuple[str, ...]) -> None:
    with tap(balancer, "--count", "1", "--format", "json", *wanted) as running:
        end(balancer)
        others = {"listener": "db", "backend": "b2", "client": "10.9.0.1:5", "termination": "SC"}
        end(balancer, **others)
        assert running.wait() == 0
        assert json.loads(running.lines[0])["termination"] == "SC"


def test_a_pool_that_is_wanted(balancer: Balancer) -> None:
    with tap(balancer, "--count", "1", "--format", "json", "--pool", "db") as running:
        end(balancer)
        end(balancer, pool="db")
        assert running.wait() == 0
        assert json.loads(running.lines[0])["pool"] == "db"


@pytest.mark.parametrize("code", ["S", "S??", "S*"])
def test_a_termination_that_is_none(balancer: Balancer, code: str) -> None:
    assert "termination" in balancer.fails("tap", "--termination", code, code=2)


def test_a_reader_that_leaves_ends_it_without_a_word(balancer: Balancer) -> None:
    command = [sys.executable, "-m", "tcplb", "ctl", "--admin", balancer.address, "tap"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        eventually(lambda: bool(balancer.do(lambda control: len(control.taps))))
        end(balancer)
        assert process.stdout.readline()
        process.stdout.close()

        def ended() -> bool:
            end(balancer)
            return process.poll() is not None

        eventually(ended)
        assert process.wait(WAIT) == 1
        assert process.stderr.read() == b""

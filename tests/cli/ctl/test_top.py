"""`tcplb ctl top` where there is no terminal: frames as text and as JSON."""

from __future__ import annotations

import json
import signal

import pytest

from tests.cli.ctl.balancer import Balancer, unused_address
from tests.cli.invoke import invoke
from tests.control.admin.fake import FakeControl
from tests.control.admin.scripted import Scripted, http, problem
from tests.processes import tcplb


def work(control: FakeControl) -> None:
    """Let time pass: 20 connections a second in all, and 2 errors."""
    control.now += 0.5
    control.accepted += 10
    backend = control.by_pool["web"]["b2"]
    backend.active, backend.connections = 5, backend.connections + 10
    backend.connect_seconds += 0.03
    backend.bytes_down += 1000
    control.by_pool["web"]["b3"].connect_failures += 1


def test_frames_of_text(balancer: Balancer) -> None:
    with balancer.at_work(work):
        first, second, rest = balancer.says("top", "--count", "2").split("\n\n")
    assert rest == ""
    for frame in (first, second):
        head, summary, names, *rows = frame.splitlines()
        assert head.startswith("2023-11-1")
        assert "tcplb 0.0.0, serving, up" in head
        assert summary.startswith("5 of 10,000 connections open, 20.0 new/s, 0 turned away/s")
        assert names.split()[0] == "backend"
        assert rows[0].split() == [
            "web/b2",
            "up",
            "5",
            "20.0",
            "0",
            "0",
            "B",
            "2.00",
            "kB",
            "3.00",
            "ms",
        ]
        assert len(rows) == 6


def test_lines_of_json(balancer: Balancer) -> None:
    with balancer.at_work(work):
        (line,) = balancer.says(
            "top", "--count", "1", "--sort", "errors", "--format", "json"
        ).splitlines()
    frame = json.loads(line)
    assert frame["accepted_per_second"] == pytest.approx(20)
    first = frame["backends"][0]
    assert (first["name"], first["errors_per_second"]) == ("b3", pytest.approx(2))
    assert set(first) == {
        *("pool", "name", "state", "active", "connect_ms"),
        *("connections_per_second", "errors_per_second"),
        *("bytes_up_per_second", "bytes_down_per_second"),
    }


def test_a_longer_interval_is_one_of_the_balancers_time(balancer: Balancer) -> None:
    with balancer.at_work(work):
        lines = balancer.says(
            "top", "--count", "2", "--interval", "2s", "--format", "json"
        ).splitlines()
    first, second = (json.loads(line)["at"] for line in lines)
    assert second - first >= 1.9


def test_an_interrupt(balancer: Balancer) -> None:
    with (
        balancer.at_work(work),
        tcplb("ctl", "top", environment=balancer.environment) as running,
    ):
        running.wait_for("^backend")
        running.signal(signal.SIGINT)
        assert running.wait() == 130
        assert "Traceback" not in running.output


@pytest.mark.parametrize("option", [("--interval", "0s"), ("--count", "0"), ("--sort", "name")])
def test_a_wrong_use(balancer: Balancer, option: tuple[str, str]) -> None:
    assert option[0] in balancer.fails("top", *option, code=2)


def test_nobody_there() -> None:
    result = invoke("ctl", "--admin", unused_address(), "top", "--count", "1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Connection refused" in result.stderr


def test_a_balancer_that_wants_no_more_streams() -> None:
    with Scripted(problem(503, "too many streams"), http(200, "{}")) as server:
        result = invoke("ctl", "--admin", server.address, "top")
    assert (result.exit_code, result.stderr) == (1, "tcplb: too many streams\n")

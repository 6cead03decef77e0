"""`tcplb ctl drain --wait`, in a pipe and on a terminal."""

from __future__ import annotations

import json
import signal
import sys

import pytest

from tcplb.control.admin.models import DrainView
from tests.cli.ctl.balancer import Balancer
from tests.control.admin.fake import FakeControl
from tests.processes import Running, eventually, tcplb
from tests.terminal import Terminal


def leave(balancer: Balancer, number: int) -> None:
    """Let the backend web/b1 have so many connections."""

    def set_active(control: FakeControl) -> None:
        control.by_pool["web"]["b1"].active = number

    balancer.do(set_active)


def wait(balancer: Balancer, *options: str) -> Running:
    leave(balancer, 12)
    return tcplb("ctl", "drain", "b1", "--wait", *options, environment=balancer.environment)


def test_until_none_is_left(balancer: Balancer) -> None:
    with wait(balancer) as running:
        running.wait_for(r"^web/b1: 12 connections left$")
        leave(balancer, 1)
        running.wait_for(r"^web/b1: 1 connection left$")
        leave(balancer, 0)
        assert running.wait() == 0
        assert running.lines[-1] == "web/b1 is drained"
        assert len(running.lines) == 3


def test_the_end_as_json(balancer: Balancer) -> None:
    result = balancer.ctl("drain", "b1", "--wait", "--format", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["drain"]["sessions_left"] == 0


def test_the_oldest_one_and_the_deadline_are_told(balancer: Balancer) -> None:
    from tcplb.cli.ctl.backend_report import drain_in_words

    drain = DrainView(since_at=0, sessions_left=3, oldest_age_s=61.0, deadline_at=1300.0)
    assert drain_in_words(drain, now=1000.0) == (
        "3 connections left, the oldest one's age is 1m 1s, closed in 5m"
    )


@pytest.mark.parametrize("mode", ["enabled", "disabled"])
def test_a_drain_that_somebody_ends(balancer: Balancer, mode: str) -> None:
    with wait(balancer) as running:
        running.wait_for("12 connections left")
        balancer.do(lambda control: setattr(control.by_pool["web"]["b1"], "mode", mode))
        assert running.wait() == 1
        assert running.lines[-1] == f"tcplb: web/b1 does not drain any more: it is {mode}"


def test_a_backend_that_somebody_removes(balancer: Balancer) -> None:
    with wait(balancer) as running:
        running.wait_for("12 connections left")
        balancer.do(lambda control: control.by_pool["web"].pop("b1"))
        assert running.wait() == 1
        assert running.lines[-1] == "tcplb: web/b1 is not there any more"


def test_an_interrupt_ends_only_the_waiting(balancer: Balancer) -> None:
    with wait(balancer) as running:
        running.wait_for("12 connections left")
        running.signal(signal.SIGINT)
        assert running.wait() == 130
        assert running.lines[-1] == "web/b1: not waited for any longer; the drain goes on"
        assert balancer.control.by_pool["web"]["b1"].mode == "draining"


def test_an_admin_port_that_is_away_for_a_moment(balancer: Balancer) -> None:
    with wait(balancer) as running:
        running.wait_for("12 connections left")
        balancer.stop()
        running.wait_for(r"^web/b1: .*; trying again$")
        leave(balancer, 0)
        balancer.start()
        assert running.wait() == 0


def test_an_admin_port_that_is_away_for_good(balancer: Balancer) -> None:
    with wait(balancer) as running:
        running.wait_for("12 connections left")
        balancer.stop()
        assert running.wait() == 1
        assert "tcplb: cannot connect to" in running.lines[-1]


def test_on_a_terminal_there_is_one_line(balancer: Balancer) -> None:
    leave(balancer, 12)
    command = (sys.executable, "-m", "tcplb", "ctl", "drain", "b1", "--wait")
    with Terminal(*command, environment=balancer.environment) as terminal:
        terminal.wait_for(r"\r\x1b\[Kweb/b1: 12 connections left")
        leave(balancer, 3)
        terminal.wait_for(r"\r\x1b\[Kweb/b1: 3 connections left")
        assert "\n" not in terminal.output
        leave(balancer, 0)
        assert terminal.wait() == 0
        assert terminal.output.endswith("\r\x1b[Kweb/b1 is drained\r\n")


def test_an_interrupt_on_a_terminal(balancer: Balancer) -> None:
    leave(balancer, 12)
    command = (sys.executable, "-m", "tcplb", "ctl", "drain", "b1", "--wait")
    with Terminal(*command, environment=balancer.environment) as terminal:
        terminal.wait_for("12 connections left")
        terminal.type("\x03")
        assert terminal.wait() == 130
        assert "the drain goes on" in terminal.output
        assert "Traceback" not in terminal.output


def test_the_time_of_the_drain_is_not_that_of_the_wait(balancer: Balancer) -> None:
    with wait(balancer, "--timeout", "5m"):
        eventually(lambda: bool(balancer.control.changed))
        assert balancer.control.changed[0][1] == 300.0

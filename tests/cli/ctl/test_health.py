from __future__ import annotations

import json

from tests.cli.ctl.balancer import Balancer, unused_address
from tests.cli.invoke import invoke
from tests.control.admin.fake import FakeControl
from tests.control.admin.scripted import Scripted, hang, http


def make_unready(control: FakeControl) -> None:
    for backend in control.by_pool["db"].values():
        backend.mode = "disabled"


def test_ready(balancer: Balancer) -> None:
    assert balancer.says("health") == "ready\n"


def test_not_ready(balancer: Balancer) -> None:
    balancer.do(make_unready)
    result = balancer.ctl("health")
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout == "not ready: a pool has no usable backend\n"


def test_alive_is_another_question(balancer: Balancer) -> None:
    balancer.do(make_unready)
    assert balancer.says("health", "--alive") == "ok\n"


def test_as_json(balancer: Balancer) -> None:
    assert json.loads(balancer.says("health", "--format", "json"))["healthy"] is True
    balancer.do(make_unready)
    assert json.loads(balancer.ctl("health", "--format", "json").stdout)["healthy"] is False


def test_nobody_there() -> None:
    result = invoke("ctl", "--admin", unused_address(), "health")
    assert (result.exit_code, result.stderr) == (1, "")
    assert "Connection refused" in result.stdout


def test_a_balancer_that_hangs() -> None:
    with Scripted(hang) as server:
        result = invoke("ctl", "--admin", server.address, "--timeout", "50ms", "health")
    assert result.exit_code == 1
    assert "has said nothing for 0.05 s" in result.stdout


def test_an_answer_without_words() -> None:
    with Scripted(http(503, "", "text/plain")) as server:
        result = invoke("ctl", "--admin", server.address, "health")
    assert (result.exit_code, result.stdout) == (1, "not ready: HTTP status 503\n")

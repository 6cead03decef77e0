from __future__ import annotations

import json

import pytest

from tests.cli.ctl.balancer import Balancer
from tests.cli.invoke import invoke
from tests.control.admin.scripted import Scripted, http

NOBODY = {
    "pool": "web",
    "key": "",
    "key_from": "none",
    "chosen": None,
    "stage": "all are full",
    "trial": False,
    "candidates": [
        {"backend": "b1", "tier": 0, "rank": 1, "verdict": "full", "active": 1000},
        {"backend": "b2", "tier": 1, "rank": 0, "verdict": "\x1b[1m", "active": 0},
    ],
}


def test_who_is_chosen(balancer: Balancer) -> None:
    balancer.do(lambda control: setattr(control.by_pool["web"]["b1"], "mode", "disabled"))
    lines = balancer.says("explain", "--first-line", "GET /hello HTTP/1.1").splitlines()
    assert lines[:3] == ["pool  web", 'key   "GET /hello HTTP/1.1", the first line', ""]
    assert lines[3].split() == ["backend", "verdict", "tier", "rank", "active"]
    (chosen,) = (line.split()[0] for line in lines if " chosen " in line)
    assert lines[-1] == f"It goes to {chosen}: usable backends."
    assert any("the operator has set it to disabled" in line for line in lines)


def test_of_a_pool_and_a_client(balancer: Balancer) -> None:
    text = balancer.says("explain", "--pool", "db", "--client", "10.0.0.1", "--format", "json")
    answer = json.loads(text)
    assert (answer["pool"], answer["key"]) == ("db", "10.0.0.1")


def test_nobody_is_chosen() -> None:
    with Scripted(http(200, json.dumps(NOBODY))) as server:
        result = invoke("ctl", "--admin", server.address, "explain")
    assert result.stdout.splitlines() == [
        "pool  web",
        "key   none",
        "",
        "backend  verdict  tier  rank  active",
        "b1       full        0     1   1,000",
        "b2       \\x1b[1m     1     –       0",
        "",
        "No backend: all are full.",
    ]


def test_a_trial_is_said() -> None:
    answer = {**NOBODY, "chosen": "b1", "trial": True, "stage": "usable"}
    with Scripted(http(200, json.dumps(answer))) as server:
        result = invoke("ctl", "--admin", server.address, "explain")
    assert result.stdout.endswith("It goes to b1, as its trial: usable.\n")


@pytest.mark.parametrize(("asked", "code"), [(("--client", "nobody"), 2), (("--pool", "wbe"), 1)])
def test_what_cannot_be_explained(balancer: Balancer, asked: tuple[str, ...], code: int) -> None:
    assert "Traceback" not in balancer.fails("explain", *asked, code=code)

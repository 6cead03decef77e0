"""`tcplb ctl enable`, `disable`, `weight`, `add` and `remove`."""

from __future__ import annotations

import json

import pytest

from tcplb.config.changes import AddBackend, RemoveBackend, SetState, SetWeight
from tests.cli.ctl.balancer import Balancer


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        (("enable", "b1"), SetState("web", "b1", "enabled")),
        (("disable", "web/b1"), SetState("web", "b1", "disabled")),
        (("drain", "[::1]:5432"), SetState("db", "[::1]:5432", "draining")),
        (("weight", "b2", "7"), SetWeight("web", "b2", 7)),
        (("weight", "b2", "0"), SetWeight("web", "b2", 0)),
        (("remove", "b1"), RemoveBackend("web", "b1")),
    ],
)
def test_a_change(balancer: Balancer, arguments: tuple[str, ...], made: object) -> None:
    text = balancer.says(*arguments)
    assert balancer.control.changed == [(made, None)]
    assert text == f"~ pools.{getattr(made, 'pool')}: {made}\n"  # noqa: B009


def test_a_change_as_json(balancer: Balancer) -> None:
    answer = json.loads(balancer.says("weight", "b1", "5", "--format", "json"))
    assert answer["applied"] is True
    assert answer["changes"][0]["path"] == "pools.web"


def test_add(balancer: Balancer) -> None:
    text = balancer.says("add", "b9=10.0.0.5:80,weight=2", "--pool", "web")
    assert "added (10.0.0.5:80, weight 2)" in text
    ((change, _),) = balancer.control.changed
    assert isinstance(change, AddBackend)
    assert (change.pool, change.backend.name, change.backend.weight) == ("web", "b9", 2)


def test_add_needs_to_know_the_pool_if_there_are_several(balancer: Balancer) -> None:
    message = balancer.fails("add", "10.0.0.5:80", code=2)
    assert "--pool" in message
    assert "(web, db)" in message


def test_add_to_the_only_pool(balancer: Balancer) -> None:
    balancer.do(lambda control: control.by_pool.pop("db"))
    assert "added" in balancer.says("add", "10.0.0.5:80")


def test_add_what_is_there(balancer: Balancer) -> None:
    assert "a backend b1 already" in balancer.fails("add", "b1=10.0.0.5:80", "--pool", "web")


def test_add_what_is_none(balancer: Balancer) -> None:
    assert "the port is missing" in balancer.fails("add", "xxx", "--pool", "web", code=2)


def test_add_to_no_pool(balancer: Balancer) -> None:
    assert "wbe" in balancer.fails("add", "10.0.0.5:80", "--pool", "wbe")


def test_the_last_backend_stays(balancer: Balancer) -> None:
    balancer.says("remove", "[::1]:5432")
    assert "the last backend" in balancer.fails("remove", "[::1]:5433")


@pytest.mark.parametrize("weight", ["-1", "257", "many", "1.5"])
def test_a_weight_that_is_none(balancer: Balancer, weight: str) -> None:
    assert "weight" in balancer.fails("weight", "b1", "--", weight, code=2).lower()
    assert balancer.control.changed == []


@pytest.mark.parametrize("command", ["enable", "disable", "drain", "remove"])
def test_a_backend_has_to_be_named(balancer: Balancer, command: str) -> None:
    assert "Missing argument 'BACKEND'" in balancer.fails(command, code=2)


def test_a_drain_with_a_time(balancer: Balancer) -> None:
    balancer.says("drain", "b1", "--timeout", "90s")
    assert balancer.control.changed == [(SetState("web", "b1", "draining"), 90.0)]


@pytest.mark.parametrize("time", ["5", "0s", "-1s", "400d", "soon"])
def test_a_drain_with_a_time_that_is_none(balancer: Balancer, time: str) -> None:
    assert "--timeout" in balancer.fails("drain", "b1", "--timeout", time, code=2)
    assert balancer.control.changed == []

"""`tcplb ctl status`, `pools`, `backends` and `backend`."""

from __future__ import annotations

import json

import pytest

from tcplb.control.admin.models import ReloadsView
from tests.cli.ctl.balancer import Balancer
from tests.control.admin.fake import FakeControl


def web(control: FakeControl, **values: object) -> None:
    """Set values of the backend web/b1."""
    for name, value in values.items():
        setattr(control.by_pool["web"]["b1"], name, value)


def test_status(balancer: Balancer) -> None:
    balancer.do(lambda control: web(control, active=1234, connections=56789))
    text = balancer.says("status")
    assert text.splitlines()[:5] == [
        "tcplb        0.0.0, pid 4711, up 0s",
        "state        serving, ready",
        "config       /etc/tcplb/tcplb.toml",
        "connections  1,234 of 10,000",
        "reloads      0 succeeded, 0 failed",
    ]
    assert "     1  5001  ready     617     400 ms   1.00 ms  60 of 20,000" in text
    assert "web       127.0.0.1:9090  web    1,234    56,789        0" in text


def test_status_of_a_balancer_in_trouble(balancer: Balancer) -> None:
    def trouble(control: FakeControl) -> None:
        web(control, mode="disabled")
        for backend in control.by_pool["web"].values():
            backend.checked = "down"
        control.state = "draining"
        control.last_reload_error = "a.toml:1: is wrong\na.toml:2: \x1b[31m"
        control.reloads_failed = 2
        control.file = None

    balancer.do(trouble)
    lines = balancer.says("status").splitlines()
    assert lines[1] == "state        draining, NOT READY: a pool has no usable backend"
    assert lines[2] == "config       no file"
    assert lines[4] == "reloads      0 succeeded, 2 failed"
    assert lines[5:7] == ["last error   a.toml:1: is wrong", "             a.toml:2: \\x1b[31m"]


def test_runtime_changes_and_the_time_of_a_reload_are_in_the_status(balancer: Balancer) -> None:
    balancer.says("weight", "b1", "3")
    assert "/etc/tcplb/tcplb.toml, 1 runtime change" in balancer.says("status")
    assert ReloadsView(succeeded=1, failed=0, last_at=None, last_error=None).last_at is None


def test_pools(balancer: Balancer) -> None:
    balancer.do(lambda control: web(control, checked="down", active=3))
    assert balancer.says("pools").splitlines() == [
        "pool  strategy           usable  active  waiting  fingerprint",
        "web   hash                  3/4       3        0  2e110a1d",
        "db    least-connections     2/2       0        0  –",
    ]


def test_backends(balancer: Balancer) -> None:
    balancer.do(
        lambda control: web(
            control,
            passive="ejected",
            active=7,
            max_connections=50,
            connections=1000,
            connect_failures=3,
            bytes_up=1500,
            bytes_down=2_000_000,
        )
    )
    head, b1, b2, *others = balancer.says("backends").splitlines()
    names = ["pool", "backend", "address", "state", "weight", "active", "total"]
    assert head.split() == [*names, "failed", "sent", "received", "why"]
    assert " ".join(b1.split()) == (
        "web b1 127.0.0.2:8080 ejected 1 (25.0 %) 7 of 50 1,000 3 1.50 kB 2.00 MB "
        "ejected: 3 connects in a row have failed (refused)"
    )
    assert b2.split()[3] == "up"
    assert not b2.endswith("it")
    assert len(others) == 4


def test_backends_of_one_pool(balancer: Balancer) -> None:
    lines = balancer.says("backends", "db").splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["db", "[::1]:5432"], ["db", "[::1]:5433"]]


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({}, "up"),
        ({"mode": "draining", "checked": "down"}, "draining"),
        ({"mode": "disabled"}, "disabled"),
        ({"passive": "ejected", "checked": "down"}, "ejected"),
        ({"checked": "down", "passive": "on trial"}, "down"),
        ({"passive": "on trial"}, "on trial"),
    ],
)
def test_one_word_says_how_a_backend_is(
    balancer: Balancer, values: dict[str, str], state: str
) -> None:
    balancer.do(lambda control: web(control, **values))
    line = next(line for line in balancer.says("backends").splitlines() if " b1 " in line)
    assert line[len("web   b1          127.0.0.2:8080  ") :].startswith(state)


def test_all_about_one_backend(balancer: Balancer) -> None:
    balancer.do(
        lambda control: web(
            control,
            mode="draining",
            active=4,
            since_at=control.now,
            passive="ejected",
            ejected_until_at=control.now + 5,
            ejections=2,
            connections=10,
            connect_seconds=0.02,
            changes=["draining by the operator"],
        )
    )
    text = balancer.says("backend", "web/b1")
    facts = {line[:13].strip(): line[13:] for line in text.splitlines()}
    assert facts["backend"] == "web/b1"
    assert facts["address"] == "127.0.0.2:8080"
    assert facts["state"] == "draining"
    assert facts["why"] == "the operator has set it to draining"
    assert facts["since"].startswith("2023-11-1")
    assert facts["ejection"].startswith("ejected until 2023-11-1")
    assert facts["ejection"].endswith("; 2 ejections so far")
    assert facts["drain"] == "4 connections left"
    assert facts["weight"] == "1, 25.0 % of its tier's; tier 0"
    assert facts["dials"] == "10 connected in 2.00 ms on average, 0 failed"
    assert facts["changed"] == "draining by the operator"


@pytest.mark.parametrize(
    "asked",
    [("web/b1",), ("b1",), ("b1", "--pool", "web"), ("web/b1", "--pool", "web")],
)
def test_a_backend_is_found_by_its_name(balancer: Balancer, asked: tuple[str, ...]) -> None:
    assert "web/b1" in balancer.says("backend", *asked)


def test_a_name_with_colons_and_brackets(balancer: Balancer) -> None:
    assert "db/[::1]:5432" in balancer.says("backend", "[::1]:5432")


def test_a_name_that_two_pools_have(balancer: Balancer) -> None:
    balancer.says("add", "b1=127.0.0.9:1", "--pool", "db")
    message = balancer.fails("backend", "b1", code=2)
    assert "several pools have a backend called b1: write web/b1, db/b1" in message
    assert "127.0.0.9:1" in balancer.says("backend", "b1", "--pool", "db")
    assert "127.0.0.9:1" in balancer.says("backend", "db/b1")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("B22",), 'there is no backend "B22"; did you mean web/b2?'),
        (("wev/b2",), 'there is no backend "wev/b2"; did you mean web/b2?'),
        (("xyz",), "(there are web/b1, web/b2, web/b3, web/b4, db/[::1]:5432, db/[::1]:5433)"),
        (("b1", "--pool", "db"), "of pool db (there are db/[::1]:5432, db/[::1]:5433)"),
        (("b1", "--pool", "wbe"), "wbe"),
        (("\x1b[31m",), "\\x1b[31m"),
    ],
)
def test_a_backend_that_is_not_there(balancer: Balancer, asked: tuple[str, ...], says: str) -> None:
    assert says in balancer.fails("backend", *asked)


def test_of_many_backends_only_a_few_are_listed() -> None:
    with Balancer(backends=30) as balancer:
        assert balancer.fails("backend", "xyz").endswith("web/b9, web/b10, …)\n")


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("status",), "pid"),
        (("pools",), "pools"),
        (("backends",), "backends"),
        (("backend", "b1"), "why"),
    ],
)
def test_json_is_what_the_api_says(
    balancer: Balancer, arguments: tuple[str, ...], key: str
) -> None:
    behind = json.loads(balancer.says(*arguments, "--format", "json"))
    before = json.loads(balancer.says("--format", "json", *arguments))
    assert behind == before
    assert key in behind


def test_the_format_of_the_command_wins(balancer: Balancer) -> None:
    assert balancer.says("--format", "json", "pools", "--format", "text").startswith("pool")


def test_what_names_contain_cannot_move_the_cursor(balancer: Balancer) -> None:
    balancer.do(lambda control: web(control, address="\x1b[2J\u202e", changes=["\x9b1m"]))
    for arguments in (("backends",), ("backend", "web/b1")):
        text = balancer.says(*arguments)
        assert "\\x1b[2J\\u202e" in text
        assert "\x1b" not in text
    assert "\x9b" not in balancer.says("backend", "web/b1")
    assert balancer.says("backend", "web/b1", "--format", "json").isascii()

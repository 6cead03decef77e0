from __future__ import annotations

import json

import pytest

from tcplb.control.admin.models import SessionView
from tests.cli.ctl.balancer import Balancer
from tests.cli.invoke import invoke
from tests.control.admin.fake import FakeControl
from tests.control.admin.scripted import Scripted, http


def fill(control: FakeControl, number: int) -> None:
    """Let there be so many sessions, one a second older than the next."""
    control.open_sessions.clear()
    for place in range(number):
        session = f"1-{place + 1}"
        control.open_sessions[session] = SessionView(
            id=session,
            client=f"10.0.{place % 3}.7:{40000 + place}",
            listener="web" if place % 2 else "db",
            pool="web" if place % 2 else "db",
            backend="b1" if place % 2 else None,
            phase="data" if place % 2 else "queued",
            age_s=float(number - place),
            bytes_up=1500,
            bytes_down=0,
            key="/\x1b[31m" + "x" * 100,
        )


def ids(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()[1:]]


def test_a_table(balancer: Balancer) -> None:
    balancer.do(lambda control: fill(control, 3))
    lines = balancer.says("sessions").splitlines()
    assert lines[0].split() == [
        "id",
        "client",
        "listener",
        "backend",
        "phase",
        "age",
        "sent",
        "received",
        "key",
    ]
    assert " ".join(lines[1].split()) == (
        "1-1 10.0.0.7:40000 db db/– queued 3s 1.50 kB 0 B /\\x1b[31m" + "x" * 30 + "…"
    )
    assert lines[2].split()[3] == "web/b1"


def test_no_sessions(balancer: Balancer) -> None:
    balancer.do(lambda control: fill(control, 0))
    assert ids(balancer.says("sessions")) == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (("--listener", "web"), ["1-2", "1-4", "1-6"]),
        (("--pool", "db"), ["1-1", "1-3", "1-5"]),
        (("--backend", "b1"), ["1-2", "1-4", "1-6"]),
        (("--backend", "web/b1"), ["1-2", "1-4", "1-6"]),
        (("--backend", "db/b1"), []),
        (("--backend", "web/b1", "--pool", "db"), []),
        (("--client", "10.0.1.0/24"), ["1-2", "1-5"]),
        (("--client", "10.0.1.7", "--pool", "db"), ["1-5"]),
    ],
)
def test_filters(balancer: Balancer, wanted: tuple[str, ...], found: list[str]) -> None:
    balancer.do(lambda control: fill(control, 6))
    assert ids(balancer.says("sessions", *wanted)) == found


def test_the_usual_limit_is_said(balancer: Balancer) -> None:
    balancer.do(lambda control: fill(control, 130))
    result = balancer.ctl("sessions")
    assert len(ids(result.stdout)) == 100
    assert result.stderr == "100 of 130 are shown; --limit N or --all shows more\n"


@pytest.mark.parametrize("number", [1, 1000, 1001, 2500])
def test_a_limit_of_ones_own(balancer: Balancer, number: int) -> None:
    balancer.do(lambda control: fill(control, 2600))
    result = balancer.ctl("sessions", "--limit", str(number))
    assert ids(result.stdout) == [f"1-{place + 1}" for place in range(number)]
    assert f"{number:,} of 2,600 are shown" in result.stderr


def test_all_of_several_pages(balancer: Balancer) -> None:
    balancer.do(lambda control: fill(control, 2300))
    assert len(set(ids(balancer.says("sessions", "--all")))) == 2300
    answer = json.loads(balancer.says("sessions", "--all", "--format", "json"))
    assert (len(answer["sessions"]), answer["total"], answer["next"]) == (2300, 2300, None)


def test_a_worker_that_has_not_answered_is_named(balancer: Balancer) -> None:
    balancer.do(lambda control: control.unanswered.append(2))
    result = balancer.ctl("sessions", "--all")
    assert result.stderr == "worker 2 has not answered in time: its connections are missing\n"
    assert json.loads(balancer.says("sessions", "--format", "json"))["unanswered"] == [2]


def test_json_says_that_there_is_more(balancer: Balancer) -> None:
    answer = json.loads(balancer.says("sessions", "--limit", "5", "--format", "json"))
    assert (len(answer["sessions"]), answer["total"]) == (5, 12)
    assert answer["next"] is not None


def test_pages_that_never_end_are_an_error() -> None:
    page = '{"sessions": [], "total": 5, "next": "a"}'
    with Scripted(http(200, page, more="Connection: close\r\n")) as server:
        result = invoke("ctl", "--admin", server.address, "sessions", "--all")
    assert result.exit_code == 1
    assert "the same page" in result.stderr
    assert "cursor=a" in server.requests[1]


def test_a_client_that_is_no_address_is_a_wrong_use(balancer: Balancer) -> None:
    assert "must be an IP address or a network" in balancer.fails(
        "sessions", "--client", "foo", code=2
    )


@pytest.mark.parametrize("limit", ["0", "-1", "x"])
def test_a_limit_that_is_none(balancer: Balancer, limit: str) -> None:
    assert "--limit" in balancer.fails("sessions", "--limit", limit, code=2)


def test_close(balancer: Balancer) -> None:
    assert balancer.says("close", "1-3") == "1-3 is being closed\n"
    assert json.loads(balancer.says("close", "1-4", "--format", "json")) == {"id": "1-4"}
    assert balancer.control.closed == ["1-3", "1-4"]


def test_close_what_is_not_open(balancer: Balancer) -> None:
    assert balancer.fails("close", "9-9") == "tcplb: there is no open session 9-9\n"

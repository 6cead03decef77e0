"""What the shell offers: names of the running balancer."""

from __future__ import annotations

import pytest

from tests.cli.ctl.balancer import Balancer, unused_address
from tests.cli.invoke import invoke
from tests.control.admin.scripted import Scripted, hang, http


def offered(words: str, **environment: str) -> list[str]:
    asked = {
        "_TCPLB_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    result = invoke(environment=asked | environment)
    assert result.stderr == ""
    return [line.removeprefix("plain,") for line in result.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("drain b", ["b1", "b2", "b3", "b4"]),
        ("drain web/b1", ["web/b1"]),
        ("backend web/", ["web/b1", "web/b2", "web/b3", "web/b4"]),
        ("sessions --backend b4", ["b4"]),
        ("drain x", []),
        ("backends ", ["web", "db"]),
        ("add --pool d", ["db"]),
        ("tap --listener ", ["web", "db"]),
    ],
)
def test_names_of_the_balancer(balancer: Balancer, words: str, names: list[str]) -> None:
    assert offered(f"tcplb ctl {words}", TCPLB_CTL_ADMIN=balancer.address) == names


def test_of_the_balancer_that_the_command_line_names(balancer: Balancer) -> None:
    assert offered(f"tcplb ctl --admin {balancer.address} drain b1") == ["b1"]


def test_commands() -> None:
    assert offered("tcplb ctl e") == ["enable", "events", "explain"]


def test_nobody_there_is_no_offer() -> None:
    assert offered("tcplb ctl drain ", TCPLB_CTL_ADMIN=unused_address()) == []
    assert offered("tcplb ctl drain ", TCPLB_CTL_ADMIN="none") == []


def test_a_strange_answer_is_no_offer() -> None:
    with Scripted(http(200, "[]")) as server:
        assert offered("tcplb ctl drain ", TCPLB_CTL_ADMIN=server.address) == []


def test_the_shell_does_not_wait_for_long() -> None:
    with Scripted(hang) as server:
        assert offered("tcplb ctl --timeout 1h drain ", TCPLB_CTL_ADMIN=server.address) == []

"""What is asked on a terminal before something is lost, and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.cli.ctl.balancer import Balancer
from tests.terminal import Terminal

QUESTIONS = [
    (("disable", "b1"), r"Disable web/b1 with its 0 open connections\? \[y/N\] "),
    (("remove", "b1"), r"Remove web/b1 with its 0 open connections\? \[y/N\] "),
    (("close", "1-3"), r"Close 1-3 with a reset\? \[y/N\] "),
    (("reload", "--discard-changes"), r"forget all runtime changes .*\? \[y/N\] "),
]


def terminal(balancer: Balancer, *arguments: str) -> Terminal:
    command = (sys.executable, "-m", "tcplb", "ctl", *arguments)
    return Terminal(*command, environment=balancer.environment)


def done(balancer: Balancer) -> bool:
    control = balancer.control
    return bool(control.changed or control.closed or control.reloads)


@pytest.fixture
def balancer() -> Iterator[Balancer]:
    with Balancer() as running:
        yield running


@pytest.mark.parametrize(("arguments", "question"), QUESTIONS)
def test_yes_does_it(balancer: Balancer, arguments: tuple[str, ...], question: str) -> None:
    with terminal(balancer, *arguments) as asked:
        asked.wait_for(question)
        assert not done(balancer)
        asked.type("y\n")
        assert asked.wait() == 0
    assert done(balancer)


@pytest.mark.parametrize(("arguments", "question"), QUESTIONS[:2])
@pytest.mark.parametrize("answer", ["\n", "n\n", "yup\n", "\x04"])
def test_anything_else_does_not(
    balancer: Balancer, arguments: tuple[str, ...], question: str, answer: str
) -> None:
    with terminal(balancer, *arguments) as asked:
        asked.wait_for(question)
        asked.type(answer)
        assert asked.wait() == 1
        assert "nothing was changed" in asked.output
    assert not done(balancer)


def test_an_interrupt_at_a_question(balancer: Balancer) -> None:
    with terminal(balancer, "disable", "b1") as asked:
        asked.wait_for(r"\[y/N\]")
        asked.type("\x03")
        assert asked.wait() == 130
        assert "Traceback" not in asked.output
    assert not done(balancer)


@pytest.mark.parametrize("arguments", [arguments for arguments, _ in QUESTIONS])
def test_yes_beforehand(balancer: Balancer, arguments: tuple[str, ...]) -> None:
    with terminal(balancer, *arguments, "--yes") as asked:
        assert asked.wait() == 0
        assert "[y/N]" not in asked.output
    assert done(balancer)


@pytest.mark.parametrize("arguments", [arguments for arguments, _ in QUESTIONS])
def test_without_a_terminal_nothing_is_asked(
    balancer: Balancer, arguments: tuple[str, ...]
) -> None:
    assert "[y/N]" not in balancer.says(*arguments)
    assert done(balancer)


def test_in_a_pipe_nothing_is_asked_though_there_is_a_keyboard(balancer: Balancer) -> None:
    shell = f"{sys.executable} -m tcplb ctl disable b1 | cat"
    with Terminal("sh", "-c", shell, environment=balancer.environment) as asked:
        assert asked.wait() == 0
        assert "[y/N]" not in asked.output
    assert done(balancer)


def test_what_changes_nothing_is_not_asked_about(balancer: Balancer) -> None:
    with terminal(balancer, "reload", "--discard-changes", "--dry-run") as asked:
        assert asked.wait() == 0
    with terminal(balancer, "reload") as asked:
        assert asked.wait() == 0
        assert "[y/N]" not in asked.output


def test_states_are_in_colour_on_a_terminal(balancer: Balancer) -> None:
    with terminal(balancer, "backends") as shown:
        assert shown.wait() == 0
        assert "\x1b[32mup\x1b[0m" in shown.output


def test_unless_somebody_objects(balancer: Balancer) -> None:
    command = (sys.executable, "-m", "tcplb", "ctl", "backends")
    with Terminal(*command, environment=balancer.environment | {"NO_COLOR": "1"}) as shown:
        assert shown.wait() == 0
        assert "\x1b" not in shown.output

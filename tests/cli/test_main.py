from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from tcplb import __version__
from tcplb.cli.main import main
from tests.cli.invoke import invoke
from tests.processes import WAIT


def commands(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command there is, with what to type for it."""
    yield names, group
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        else:
            yield (*names, name), command


ALL = dict(commands(main))


def test_these_are_the_commands() -> None:
    names = {" ".join(names) for names in ALL}
    assert {name for name in names if not name.startswith("ctl ")} == {
        "",
        "bench",
        "check",
        "completion",
        "config",
        "config schema",
        "config show",
        "ctl",
        "demo",
        "doctor",
        "explain",
        "plan",
        "serve",
        "simulate",
    }


def test_version() -> None:
    result = invoke("--version")
    assert (result.exit_code, result.output) == (0, f"tcplb, version {__version__}\n")


@pytest.mark.parametrize("names", ALL, ids=" ".join)
def test_every_command_has_help_by_both_flags(names: tuple[str, ...]) -> None:
    short, long = invoke(*names, "-h"), invoke(*names, "--help")
    assert (short.exit_code, long.exit_code) == (0, 0)
    assert short.output == long.output
    assert long.output.startswith(" ".join(["Usage: tcplb", *names]))


@pytest.mark.parametrize("names", ALL, ids=" ".join)
def test_help_has_no_marks_of_its_source(names: tuple[str, ...]) -> None:
    assert "\\b" not in invoke(*names, "--help").output
    assert "\b" not in invoke(*names, "--help").output


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ((), "  tcplb serve --strategy hash           listens on 127.0.0.1:9090"),
        (("serve",), "    tcplb serve --strategy hash"),
        (("completion",), '    bash:  eval "$(tcplb completion bash)"'),
    ],
)
def test_an_example_in_help_has_a_line_of_its_own(names: tuple[str, ...], line: str) -> None:
    lines = [" ".join(shown.split()) for shown in invoke(*names, "--help").output.splitlines()]
    assert " ".join(line.split()) in lines


@pytest.mark.parametrize("names", [(), ("config",)])
def test_no_command_shows_the_help_and_is_a_wrong_use(names: tuple[str, ...]) -> None:
    result = invoke(*names)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == invoke(*names, "--help").output


def test_an_unknown_command_is_named() -> None:
    result = invoke("sevre")
    assert result.exit_code == 2
    assert "No such command 'sevre'" in result.stderr


def test_the_module_calls_itself_tcplb() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tcplb", "--help"],
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=True,
    )
    assert done.stdout.startswith("Usage: tcplb [OPTIONS] COMMAND")


def test_serve_imports_nothing_of_the_commands_that_need_much() -> None:
    loaded = "import sys, tcplb.cli.main; print(*(name for name in sys.modules if 'rich' in name))"
    done = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, timeout=WAIT, check=True
    )
    assert done.stdout == "\n"

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tcplb.cli.doctor import as_lines, summary
from tcplb.control.doctor.finding import Finding, ok, problem, unknown, warning
from tests.cli.invoke import invoke
from tests.processes import free_port
from tests.terminal import Terminal


@pytest.fixture
def flags() -> Iterator[tuple[str, ...]]:
    """Settings that are no problem on any machine that runs tests."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        backend = "127.0.0.1:{1}".format(*server.getsockname())
        yield ("--listen", "127.0.0.1:0", "--backend", backend, "--connect-timeout", "30s")


def examined(*arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit code, and the findings by what was looked at."""
    result = invoke("doctor", "--format", "json", *arguments)
    assert result.stderr == ""
    findings: list[dict[str, Any]] = json.loads(result.stdout)
    assert all(finding.keys() == {"check", "level", "what", "todo"} for finding in findings)
    return result.exit_code, {finding["check"]: finding for finding in findings}


def test_without_a_problem_it_ends_with_0(flags: tuple[str, ...]) -> None:
    code, findings = examined(*flags)
    assert code == 0
    assert findings["listener default"] == {
        "check": "listener default",
        "level": "ok",
        "what": "127.0.0.1:0 can be bound",
        "todo": None,
    }


def test_with_a_problem_it_ends_with_1(flags: tuple[str, ...]) -> None:
    dead = f"127.0.0.1:{free_port()}"
    code, findings = examined(*flags, "--backend", dead)
    assert code == 1
    assert findings[f"backend default/{dead}"] == {
        "check": f"backend default/{dead}",
        "level": "problem",
        "what": f"{dead} refuses connections",
        "todo": "start the server, or mend the port",
    }


def test_the_settings_count(flags: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "tcplb.toml"
    file.write_text('[log]\naccess = "/no/such/folder/a.log"\n')
    file.chmod(0o666)
    code, findings = examined("--config", str(file), "--max-connections", "1000000000", *flags)
    assert code == 1
    assert findings["settings file"]["todo"] == f"chmod o-w {file}"
    assert findings["access log"]["todo"] == "mkdir -p /no/such/folder"
    assert findings["fs.nr_open"]["level"] in ("problem", "cannot tell")


def test_as_text_there_are_columns_and_a_summary(flags: tuple[str, ...]) -> None:
    result = invoke("doctor", *flags)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("ok           python ")
    assert all("\x1b" not in line for line in lines)
    assert any(" in " in line and line.endswith(" checks") for line in lines)
    assert ("sysctl -w lasts" in lines[-1]) == any("→ sysctl -w" in line for line in lines)


def test_on_a_terminal_there_are_colours(flags: tuple[str, ...]) -> None:
    command = (sys.executable, "-m", "tcplb", "doctor", *flags)
    with Terminal(*command, size=(100, 60)) as terminal:
        assert terminal.wait() == 0
        assert "\x1b[32mok" in terminal.output
        assert "127.0.0.1:0 can be bound" in terminal.output


# -- what is wrong with the settings ----------------------------------------------------------


def test_a_bad_file_ends_it_with_3(tmp_path: Path) -> None:
    file = tmp_path / "tcplb.toml"
    file.write_text("workers = 0\n")
    result = invoke("doctor", "--config", str(file))
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith(f"{file}:1: workers: ")


def test_a_strategy_that_cannot_be_loaded_ends_it_with_3() -> None:
    result = invoke("doctor", "--strategy", "no_such_module_as_this:choose")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "no_such_module_as_this" in result.stderr


@pytest.mark.parametrize("arguments", [("--workers", "0"), ("--format", "xml"), ("extra",)])
def test_bad_flags_end_it_with_2(arguments: tuple[str, ...]) -> None:
    result = invoke("doctor", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")


# -- the report -------------------------------------------------------------------------------

FINDINGS = [
    ok("a", "fine"),
    unknown("b c", "cannot be read"),
    warning("d", "small", "sysctl -w d=1"),
    problem("e", "broken", "mend it"),
]


def test_the_lines() -> None:
    assert list(as_lines(FINDINGS)) == [
        "ok           a    fine",
        "cannot tell  b c  cannot be read",
        "warning      d    small",
        "                  → sysctl -w d=1",
        "problem      e    broken",
        "                  → mend it",
    ]


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        (FINDINGS, "1 problem and 1 warning in 4 checks"),
        (FINDINGS[:3], "0 problems and 1 warning in 3 checks"),
        ([*FINDINGS, FINDINGS[3]], "2 problems and 1 warning in 5 checks"),
        (FINDINGS[3:], "1 problem and 0 warnings in 1 check"),
        (FINDINGS[:2], "no problem in 2 checks"),
    ],
)
def test_the_summary(findings: list[Finding], words: str) -> None:
    assert summary(findings) == words

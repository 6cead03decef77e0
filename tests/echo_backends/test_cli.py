from __future__ import annotations

import dataclasses

import pytest
from click.testing import CliRunner

from echo_backends.cli import child_options, main, parse_ports
from echo_backends.faults import Faults


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("8081", [8081]),
        ("8081-8084", [8081, 8082, 8083, 8084]),
        ("8081,8083", [8081, 8083]),
        ("8081-8082, 9000", [8081, 8082, 9000]),
        ("0,0", [0, 0]),
    ],
)
def test_ports(text: str, ports: list[int]) -> None:
    assert parse_ports(text) == ports


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not a list of ports"),
        ("http", "not a list of ports"),
        ("8081,", "not a list of ports"),
        ("8084-8081", "not a range"),
        ("65536", "between 0 and 65535"),
        ("8081-8083,8082", "a port twice"),
        ("80-8084", "256 at most"),
    ],
)
def test_what_is_no_list_of_ports(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_ports(text)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--ports", "x"], "Invalid value for '--ports': 'x' is not a list of ports"),
        (["--delay", "3"], "Invalid value for '--delay': '3' is not a duration"),
        (["--reset-after", "big"], "Invalid value for '--reset-after': 'big' is not a size"),
        (["--greeting", r"\q"], r"Invalid value for '--greeting': \q means nothing"),
        (["--reset-after", "1", "--close-after", "1"], "by a reset or by a close, not by both"),
        (["--teapot"], "No such option"),
    ],
)
def test_bad_usage_is_exit_code_2_and_says_why(arguments: list[str], why: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert why in result.stderr


@pytest.mark.parametrize(
    "faults",
    [
        Faults(),
        Faults(delay=0.05, reset_after=0, greeting=bytes(range(1, 256))),
        Faults(delay=3600.0, close_after=65536, stall=True),
        Faults(refuse=True),
    ],
)
def test_a_child_is_told_the_same(faults: Faults) -> None:
    with main.make_context("echo-backends", child_options("::1", faults)) as context:
        told = context.params
    assert told.pop("host") == "::1"
    assert {name: told[name] for name in Faults.__slots__} == dataclasses.asdict(faults)


def test_help_names_what_there_is_and_shows_how() -> None:
    result = CliRunner().invoke(main, ["--help"], terminal_width=100)
    assert result.exit_code == 0
    options = [
        "ports",
        "host",
        "delay",
        "refuse",
        "reset-after",
        "close-after",
        "stall",
        "greeting",
    ]
    assert [option for option in options if f"--{option}" not in result.output] == []
    assert "echo-backends --ports 8081 --delay 50ms" in result.output
    assert "names itself in X-Backend" in " ".join(result.output.split())
    assert "--parent-pipe" not in result.output

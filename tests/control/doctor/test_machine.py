from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tcplb.control.doctor.machine import Machine, set_to
from tests.control.doctor.machines import machine, put


@pytest.mark.parametrize(
    ("content", "numbers", "number"),
    [
        ("4096", (4096,), 4096),
        ("32768\t60999", (32768, 60999), None),
        ("-1", (-1,), -1),
        ("", None, None),
        ("max", None, None),
        ("1 x", None, None),
        ("9" * 5000, None, None),
    ],
)
def test_the_numbers_of_a_setting(
    tmp_path: Path, content: str, numbers: tuple[int, ...] | None, number: int | None
) -> None:
    made = machine(tmp_path, {"net.core.x": content})
    assert (made.numbers("net.core.x"), made.number("net.core.x")) == (numbers, number)
    assert made.sysctl("net.core.x") == content


def test_what_is_not_there_or_no_file_is_none(tmp_path: Path) -> None:
    made = machine(tmp_path)
    put(made, "proc/sys/net/core/x", "1")
    assert made.number("net.core.y") is None
    assert made.number("net.core") is None
    assert made.text("proc/sys/net/core/x/z") is None
    assert (made.exists("proc/sys"), made.exists("run")) == (True, False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40))
def test_no_content_is_an_error(tmp_path: Path, content: bytes) -> None:
    made = machine(tmp_path, {"a.b": ""})
    (tmp_path / "proc/sys/a/b").write_bytes(content)
    made.number("a.b")


def test_the_command_that_sets_it() -> None:
    assert set_to("net.core.somaxconn", 65535) == "sysctl -w net.core.somaxconn=65535"
    assert set_to("a.b", "1024 65535") == 'sysctl -w a.b="1024 65535"'


def test_this_machine() -> None:
    this = Machine.this()
    assert this.root == Path("/")
    assert this.open_files == resource.getrlimit(resource.RLIMIT_NOFILE)
    assert this.user == os.geteuid()
    assert this.page_size == resource.getpagesize()
    assert this.processors >= 1

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.cli.invoke import invoke

EXAMPLE = Path(__file__).parents[2] / "examples" / "tcplb.toml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tcplb.toml"


def test_the_example_is_fine() -> None:
    result = invoke("check", str(EXAMPLE))
    assert result.exit_code == 0
    assert result.output == f"{EXAMPLE}: fine: 2 listeners, 2 pools, 6 backends\n"


def test_an_empty_file_is_fine_and_has_the_defaults(file: Path) -> None:
    file.write_text("")
    result = invoke("check", str(file))
    assert result.exit_code == 0
    assert result.output == f"{file}: fine: 1 listener, 1 pool, 4 backends\n"


def test_one_backend_is_not_plural(file: Path) -> None:
    file.write_text('pools.web.backends = [{address = "a:1"}]')
    assert invoke("check", str(file)).output == f"{file}: fine: 1 listener, 1 pool, 1 backend\n"


def test_problems_go_to_stderr_and_end_it_with_3(file: Path) -> None:
    file.write_text('[limits]\nmax_connections = 0\ndrain_timeout = "soon"\n')
    result = invoke("check", str(file))
    assert result.exit_code == 3
    assert result.stdout == ""
    assert [line.split(" (got")[0] for line in result.stderr.splitlines()] == [
        f'{file}:2: limits.max_connections: must be a whole number of at least 1, or "auto"',
        f"{file}:3: limits.drain_timeout: must be a duration such as 250ms, 5s or 1h",
    ]


def test_it_opens_nothing(file: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        file.write_text(
            f'listeners = [{{bind = "127.0.0.1:{taken.getsockname()[1]}"}}]\n'
            f'log.access = "{tmp_path}/no/such/folder"\n'
        )
        assert invoke("check", str(file)).exit_code == 0


def test_it_judges_the_file_and_not_the_environment(file: Path) -> None:
    file.write_text("")
    environment = {"TCPLB_STRATEGY": "nonsense", "TCPLB_LISTEN": "nonsense"}
    assert invoke("check", str(file), environment=environment).exit_code == 0


def test_a_file_is_needed() -> None:
    result = invoke("check")
    assert result.exit_code == 2
    assert "Missing argument 'FILE'" in result.stderr


@pytest.mark.parametrize(("text", "code"), [("", 0), ("nonsense = 1", 3)])
def test_a_name_that_is_no_text_can_be_printed(tmp_path: Path, text: str, code: int) -> None:
    file = tmp_path / os.fsdecode(b"\xff.toml")
    try:
        file.write_text(text)
    except OSError:
        pytest.skip("this file system takes no such name")
    result = invoke("check", str(file))
    assert result.exit_code == code
    assert ".toml:" in result.output

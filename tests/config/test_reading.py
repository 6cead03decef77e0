from __future__ import annotations

import os
from pathlib import Path

import pytest

from tcplb.config.document import Origin
from tcplb.config.reading import read
from tcplb.errors import ConfigError


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def problem_with(path: Path, content: bytes | None = None) -> str:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert len(caught.value.problems) == 1
    return str(caught.value)


FILE = Path("tcplb.toml")


def test_values_and_their_lines() -> None:
    FILE.write_bytes(b"\n[limits]\nmax_connections = 5\n")
    document = read(FILE)
    assert document.data == {"limits": {"max_connections": 5}}
    assert document.origins == {
        (): Origin("tcplb.toml:1", 1),
        ("limits",): Origin("tcplb.toml:2", 2),
        ("limits", "max_connections"): Origin("tcplb.toml:3", 3),
    }


def test_a_byte_order_mark_is_skipped() -> None:
    FILE.write_bytes(b"\xef\xbb\xbfa = 1\r\nb = 2\r\n")
    assert read(FILE).origins[("b",)].text == "tcplb.toml:2"


def test_no_such_file() -> None:
    assert problem_with(FILE) == "tcplb.toml: no such file"


def test_a_directory() -> None:
    FILE.mkdir()
    assert problem_with(FILE) == "tcplb.toml: is a directory, not a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission() -> None:
    FILE.touch(mode=0)
    assert problem_with(FILE) == "tcplb.toml: cannot be read: permission denied"


def test_another_error_of_the_system() -> None:
    FILE.symlink_to(FILE)
    expected = "tcplb.toml: cannot be read: too many levels of symbolic links"
    assert problem_with(FILE) == expected


def test_a_name_that_no_file_can_have() -> None:
    assert problem_with(Path("a\0b")) == "a\\x00b: is not a file name"


def test_the_name_is_escaped() -> None:
    assert problem_with(Path("a\nb"), b"=") == (
        "a\\nb:1: is not valid TOML: invalid statement (column 1)"
    )


def test_not_utf8() -> None:
    expected = "tcplb.toml:2: is not UTF-8 text (byte 0xff)"
    assert problem_with(FILE, b"a = 1\nb = '\xff'\n") == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            b"[limits]\na = 1\nb 2\n",
            "tcplb.toml:3: is not valid TOML: "
            "expected '=' after a key in a key/value pair (column 3)",
        ),
        (
            b"a = [1,\n",
            "tcplb.toml:1: is not valid TOML: invalid value (at the end of the file)",
        ),
        (b"a = 1\na = 2\n", "tcplb.toml:2: is not valid TOML: cannot overwrite a value (column 6)"),
    ],
)
def test_a_syntax_error(content: bytes, problem: str) -> None:
    # The reason is the parser's, and may be worded differently in another Python.
    where, message, _ = problem.split(": ", maxsplit=2)
    assert problem_with(FILE, content).startswith(f"{where}: {message}: ")
    assert "Traceback" not in problem_with(FILE, content)


def test_a_long_reason_is_cut() -> None:
    key = b"x" * 500
    message = problem_with(FILE, b"[" + key + b"]\n[" + key + b"]\n")
    assert message.startswith("tcplb.toml:2: is not valid TOML: cannot declare ('xxx")
    assert "x... (column " in message
    assert len(message) < 300


def test_a_number_that_python_will_not_read() -> None:
    message = problem_with(FILE, b"a = " + b"9" * 5000)
    assert message.startswith("tcplb.toml: is not valid TOML: exceeds the limit (4300 digits)")


@pytest.mark.parametrize("depth", [51, 5000])
def test_nested_too_deeply(depth: int) -> None:
    content = b"a = " + b"[" * depth + b"]" * depth
    assert problem_with(FILE, content) == "tcplb.toml: is nested too deeply"

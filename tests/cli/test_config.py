from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest

from tcplb.config.models import Config
from tests.cli.invoke import invoke, origin, settings, shown
from tests.processes import WAIT

EXAMPLE = Path(__file__).parents[2] / "examples" / "tcplb.toml"


def test_show_prints_the_defaults_as_toml() -> None:
    assert settings() == Config().model_dump(mode="json", exclude_none=True)


def test_what_show_prints_is_a_settings_file_that_means_the_same(tmp_path: Path) -> None:
    first = settings("--config", str(EXAMPLE), "--drain-timeout", "3s")
    again = tmp_path / "again.toml"
    again.write_text(shown("--config", str(EXAMPLE), "--drain-timeout", "3s"))
    assert first["limits"]["drain_timeout"] == "3s"
    assert settings("--config", str(again)) == first


def test_show_says_where_each_value_came_from(tmp_path: Path) -> None:
    file = tmp_path / "tcplb.toml"
    file.write_text('[log]\nlevel = "debug"\n')
    text = shown(
        "--config",
        str(file),
        "--strategy",
        "hash",
        environment={"TCPLB_DRAIN_TIMEOUT": "1s"},
    )
    assert origin("level", text) == f"{file}:2"
    assert origin("strategy", text) == "--strategy"
    assert origin("drain_timeout", text) == "TCPLB_DRAIN_TIMEOUT"
    assert origin("idle_timeout", text) == "default"


def test_show_refuses_what_serve_refuses(tmp_path: Path) -> None:
    file = tmp_path / "tcplb.toml"
    file.write_text("nonsense = 1\n")
    result = invoke("config", "show", "--config", str(file))
    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr.startswith(f"{file}:1: nonsense: unknown key")


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    result = invoke("config", "schema")
    assert (result.exit_code, result.stderr) == (0, "")
    parsed = json.loads(result.stdout)
    jsonschema.Draft202012Validator.check_schema(parsed)
    return jsonschema.Draft202012Validator(parsed)


def test_the_schema_allows_the_example(schema: jsonschema.Draft202012Validator) -> None:
    schema.validate(tomllib.loads(EXAMPLE.read_text()))


def test_the_schema_allows_what_show_prints(schema: jsonschema.Draft202012Validator) -> None:
    schema.validate(settings())
    schema.validate(settings("--config", str(EXAMPLE)))


def test_the_schema_refuses_misspelt_keys_and_unknown_choices(
    schema: jsonschema.Draft202012Validator,
) -> None:
    wrong = {
        "pools": {
            "web": {
                "strategy": "hsah",
                "check": {"typ": "http"},
                "backends": [{"adress": "a:1"}],
            }
        },
        "limit": {},
    }
    assert sorted((error.json_path, error.validator) for error in schema.iter_errors(wrong)) == [
        ("$", "additionalProperties"),
        ("$.pools.web.backends[0]", "additionalProperties"),
        ("$.pools.web.backends[0]", "required"),
        ("$.pools.web.check", "anyOf"),
        ("$.pools.web.strategy", "anyOf"),
    ]


@pytest.mark.parametrize("command", [("config", "schema"), ("config", "show"), ("--help",)])
def test_a_reader_that_has_gone_gets_no_traceback(command: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # as `| head` does, but for certain
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tcplb", *command],
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=WAIT,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_for_the_output_is_a_line_and_not_a_traceback() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tcplb", "config", "show"],
            stdout=full,
            stderr=subprocess.PIPE,
            env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "tcplb: No space left on device\n")

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tcplb.config.models import Config
from tests.cli.invoke import invoke, origin, settings, shown
from tests.processes import WAIT

EXAMPLE = Path(__file__).parents[2] / "examples" / "tcplb.toml"


def test_show_prints_the_defaults_as_toml() -> None:
    assert settings() == Config().model_dump(mode="json")


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


def schema() -> dict[str, Any]:
    result = invoke("config", "schema")
    assert (result.exit_code, result.stderr) == (0, "")
    parsed = json.loads(result.stdout)
    assert isinstance(parsed, dict)
    return parsed


def schemas_of(table: dict[str, Any], key: str) -> list[dict[str, Any]]:
    if key in table.get("properties", ()):
        return [table["properties"][key]]
    named = table.get("patternProperties", {})
    return [schema for pattern, schema in named.items() if re.search(pattern, key)]


def problems(root: dict[str, Any], part: dict[str, Any], value: object, at: str) -> Iterator[str]:
    """What of `value` this part of a schema does not allow, as far as keys and choices go."""
    if "$ref" in part:
        part = part | root["$defs"][part["$ref"].removeprefix("#/$defs/")]
    if "enum" in part and value not in part["enum"]:
        yield f"{at}: not one of {part['enum']}"
    if isinstance(value, dict):
        yield from (f"{at}.{key}: missing" for key in set(part.get("required", ())) - set(value))
        for key, entry in value.items():
            yield from problems_of_key(root, part, key, entry, f"{at}.{key}")
    if isinstance(value, list):
        for index, entry in enumerate(value):
            yield from problems(root, part["items"], entry, f"{at}[{index}]")


def problems_of_key(
    root: dict[str, Any], table: dict[str, Any], key: str, value: object, at: str
) -> Iterator[str]:
    known = schemas_of(table, key)
    if not known and table["additionalProperties"] is False:
        yield f"{at}: unknown"
    for schema in known:
        yield from problems(root, schema, value, at)


def test_the_schema_allows_the_example() -> None:
    root = schema()
    assert {"BackendConfig", "EjectConfig", "ListenerConfig", "PoolConfig"} <= set(root["$defs"])
    assert list(problems(root, root, tomllib.loads(EXAMPLE.read_text()), "")) == []


def test_the_schema_allows_what_show_prints() -> None:
    root = schema()
    assert list(problems(root, root, settings(), "")) == []


def test_the_schema_refuses_misspelt_keys_and_unknown_choices() -> None:
    root = schema()
    wrong = {
        "pools": {"web": {"strategy": "hsah", "backends": [{"adress": "a:1"}]}},
        "limit": {},
    }
    assert sorted(problems(root, root, wrong, "")) == [
        ".limit: unknown",
        ".pools.web.backends[0].address: missing",
        ".pools.web.backends[0].adress: unknown",
        ".pools.web.strategy: not one of ['round-robin', 'hash', 'least-connections']",
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

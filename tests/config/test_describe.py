from __future__ import annotations

import json
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.config.describe import json_schema, to_toml
from tcplb.config.models import Config
from tcplb.config.overrides import Override
from tcplb.config.settings import Settings, load
from tests.config.conftest import LoadText

NAMES = st.from_regex(r"\A[A-Za-z0-9._:%\[\]-]{1,8}\Z")
DURATIONS = st.builds(
    "{}{}".format, st.integers(1, 300) | st.sampled_from(["0.5", "1.25"]), st.sampled_from("mshd")
) | st.builds("{}ms".format, st.floats(1e-6, 1e6).map("{:f}".format))
PATHS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def table(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional)


def backend_tables(name: str, port: int, weight: int, limit: int) -> dict[str, object]:
    return {
        "name": name,
        "address": f"host.{port}:{port}",
        "weight": weight,
        "max_connections": limit,
    }


BACKENDS = st.lists(
    st.builds(backend_tables, NAMES, st.integers(1, 65535), st.integers(0, 256), st.integers(0)),
    min_size=1,
    max_size=3,
    unique_by=lambda backend: str(backend["name"]),
)
EJECTS = table(
    failures=st.integers(1, 9),
    base_time=DURATIONS,
    step=DURATIONS,
    max_time=DURATIONS,
    jitter=st.floats(0, 1),
)
POOLS = st.fixed_dictionaries(
    {"backends": BACKENDS},
    optional={
        "strategy": st.sampled_from(["round-robin", "hash", "least-connections"]),
        "hash_key": st.sampled_from(["auto", "client", "request"]),
        "eject": EJECTS,
    },
)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    pools = draw(st.dictionaries(NAMES, POOLS, min_size=1, max_size=3))
    listeners = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "name": NAMES,
                    "bind": st.integers(0, 65535).map("[::1]:{}".format),
                    "pool": st.sampled_from(sorted(pools)),
                },
                optional={
                    "engine": st.sampled_from(["streams", "splice"]),
                    "idle_timeout": DURATIONS,
                },
            ),
            min_size=1,
            max_size=3,
            unique_by=(lambda listener: listener["name"], lambda listener: listener["bind"]),
        )
    )
    limits = table(max_connections=st.integers(1) | st.just("auto"), drain_timeout=DURATIONS)
    log = table(access=PATHS, format=st.sampled_from(["text", "json"]))
    return Config.model_validate(
        {
            "workers": draw(st.integers(1, 256) | st.just("auto")),
            "listeners": listeners,
            "pools": pools,
            "limits": draw(limits),
            "log": draw(log),
        }
    )


def load_again(text: str) -> Config:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tcplb.toml"
        path.write_text(text, encoding="utf-8", newline="")
        return load(path).config


@given(configs())
def test_what_is_written_loads_as_the_same(config: Config) -> None:
    assert load_again(to_toml(Settings(config, {}))) == config


@given(configs())
def test_what_is_written_is_safe_to_print(config: Config) -> None:
    assert all(line.isprintable() for line in to_toml(Settings(config, {})).split("\n"))


def test_every_line_says_where_it_came_from(load_text: LoadText) -> None:
    settings = load_text(
        "[pools.web]\nstrategy = 'hash'\nbackends = [\n{ address = 'A:1' }]\n",
        [
            Override(("listeners", "*", "idle_timeout"), "90s", "--idle-timeout"),
            Override(("limits", "max_connections"), 5, "TCPLB_MAX_CONNECTIONS"),
        ],
    )
    assert (
        to_toml(settings)
        == """\
workers = 1  # default

[[listeners]]  # default
name = "default"  # default
bind = "127.0.0.1:9090"  # default
pool = "web"  # default
engine = "auto"  # default
connect_timeout = "3s"  # default
connect_deadline = "15s"  # default
first_line_timeout = "5s"  # default
idle_timeout = "90s"  # --idle-timeout
half_close_timeout = "30s"  # default

[pools.web]  # tcplb.toml:1
strategy = "hash"  # tcplb.toml:2
hash_key = "auto"  # default

[pools.web.eject]  # default
failures = 3  # default
base_time = "5s"  # default
step = "5s"  # default
max_time = "1m"  # default
jitter = 0.1  # default

[[pools.web.backends]]  # tcplb.toml:4
address = "a:1"  # tcplb.toml:4
name = "a:1"  # default
weight = 1  # default
max_connections = 0  # default

[limits]  # default
max_connections = 5  # TCPLB_MAX_CONNECTIONS
drain_timeout = "30s"  # default

[log]  # default
access = "-"  # default
format = "text"  # default
level = "info"  # default
"""
    )


def test_a_file_with_a_strange_name(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.toml"
    path.write_text('log.level = "debug"')
    text = to_toml(load(path))
    assert f'level = "debug"  # {tmp_path}/a\\nb.toml:1\n' in text
    assert tomllib.loads(text)["log"]["level"] == "debug"


def fields_of(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    tables = [schema, *(model for model in schema["$defs"].values() if "properties" in model)]
    return [field for table in tables for field in table["properties"].items()]


def test_the_schema_describes_every_key() -> None:
    fields = fields_of(json_schema())
    assert len(fields) == 32
    assert [name for name, field in fields if not field.get("description")] == []


def test_the_schema_is_of_what_users_write() -> None:
    schema = json_schema()
    listener = schema["$defs"]["ListenerConfig"]["properties"]
    assert listener["idle_timeout"]["default"] == "1h"
    assert listener["idle_timeout"]["type"] == "string"
    assert schema["$defs"]["BackendConfig"]["required"] == ["address"]
    assert schema["$defs"]["PoolConfig"]["required"] == ["backends"]
    assert "required" not in schema
    assert schema["properties"]["listeners"]["default"][0]["connect_timeout"] == "3s"
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(schema)) == schema


def test_defaults_and_examples_match_the_patterns() -> None:
    for name, field in fields_of(json_schema()):
        for text in [
            *field.get("examples", []),
            *([field["default"]] if "default" in field else []),
        ]:
            if "pattern" in field:
                assert re.search(field["pattern"], text), name


@pytest.mark.parametrize("key", ["listeners", "pools", "limits", "log"])
def test_the_schema_has_the_tables(key: str) -> None:
    assert key in json_schema()["properties"]


def test_the_schema_has_the_choices() -> None:
    schema = json_schema()
    assert schema["$defs"]["StrategyName"]["enum"] == ["round-robin", "hash", "least-connections"]
    engine = schema["$defs"]["ListenerConfig"]["properties"]["engine"]
    assert engine["enum"] == ["auto", "streams", "splice"]
    assert schema["properties"]["workers"]["anyOf"] == [
        {"type": "integer", "minimum": 1, "maximum": 256},
        {"const": "auto"},
    ]

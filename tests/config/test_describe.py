from __future__ import annotations

import json
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.config.describe import json_schema, to_toml
from tcplb.config.models import Config
from tcplb.config.overrides import Override
from tcplb.config.settings import Settings, load
from tcplb.policy.names import HashKey, StrategyName
from tests.config.conftest import LoadText

EXAMPLE = Path(__file__).parents[2] / "examples" / "tcplb.toml"

NAMES = st.from_regex(r"\A(?!\.\.?\Z)[A-Za-z0-9._:%\[\]-]{1,8}\Z")
DURATIONS = st.builds(
    "{}{}".format, st.integers(1, 300) | st.sampled_from(["0.5", "1.25"]), st.sampled_from("mshd")
) | st.builds("{}ms".format, st.floats(1e-6, 1e6).map("{:f}".format))
PATHS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def table(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional)


COUNTS = st.integers(0, 1_000_000_000)
PRIORITIES = st.one_of(
    table(tier=st.integers(0, 15)), table(tier=st.integers(0, 1), backup=st.booleans())
)


def backend_tables(
    name: str, port: int, priority: dict[str, object], rest: dict[str, object]
) -> dict[str, object]:
    return {"name": name, "address": f"host.{port}:{port}", **priority, **rest}


BACKENDS = st.lists(
    st.builds(
        backend_tables,
        NAMES,
        st.integers(1, 65535),
        PRIORITIES,
        table(
            weight=st.integers(0, 256),
            max_connections=COUNTS,
            state=st.sampled_from(["enabled", "draining", "disabled"]),
            check_port=st.integers(0, 65535),
        ),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda backend: str(backend["name"]),
)
EJECTS = table(
    failures=st.integers(0, 9),
    failure_rate=st.floats(0, 1),
    window=DURATIONS,
    min_connects=st.integers(1, 99),
    first_byte=st.booleans(),
    max_ejected_percent=st.integers(0, 100),
    base_time=DURATIONS,
    step=DURATIONS,
    max_time=DURATIONS,
    jitter=st.floats(0, 1),
)
BYTES = st.text(st.characters(max_codepoint=255), max_size=9)
IN_ANY_CHECK = {
    "interval": DURATIONS,
    "fast_interval": DURATIONS,
    "timeout": DURATIONS,
    "fall": st.integers(1, 100),
    "rise": st.integers(1, 100),
    "port": st.integers(0, 65535),
}
CHECKS = st.one_of(
    st.fixed_dictionaries({}, optional={"type": st.just("tcp"), **IN_ANY_CHECK}),
    st.fixed_dictionaries(
        {"type": st.just("http")},
        optional={
            **IN_ANY_CHECK,
            "method": st.sampled_from(["GET", "HEAD", "OPTIONS"]),
            "path": st.from_regex(r"\A/[!-~]{0,9}\Z"),
            "host": st.from_regex(r"\A[!-~]{0,9}\Z"),
            "status": st.sampled_from(["200", "200-299,304", "100-100"]),
            "body": BYTES.map(re.escape),
        },
    ),
    st.fixed_dictionaries(
        {"type": st.just("send-expect")},
        optional={**IN_ANY_CHECK, "send": BYTES, "expect": BYTES.map(re.escape)},
    ),
)
RATES = table(max_new_per_second=COUNTS) | st.fixed_dictionaries(
    {"max_new_per_second": st.integers(1, 1_000_000_000)}, optional={"burst": COUNTS}
)
NETWORKS = st.ip_addresses().map(str) | st.just("all") | st.just("10.0.0.0/8")
RULES = st.builds("{} {}".format, st.sampled_from(["allow", "deny"]), NETWORKS)
POOLS = st.fixed_dictionaries(
    {"backends": BACKENDS},
    optional={
        "strategy": st.sampled_from([*StrategyName, "a.b:c.d"]),
        "hash_key": st.sampled_from([*HashKey, "client/24", "client/24/56", "client/128"]),
        "hash_balance_factor": st.just(0) | st.integers(101, 999),
        "maglev_table_size": st.sampled_from([2, 251, 65537]),
        "ewma_decay": DURATIONS,
        "slow_start": DURATIONS,
        "panic_threshold": st.integers(0, 100),
        "eject": EJECTS,
        "check": CHECKS,
        "retry": table(
            attempts=COUNTS, budget_percent=st.integers(0, 100), budget_min=st.integers(1, 99)
        ),
        "queue": table(size=COUNTS, timeout=DURATIONS, abort_on_close=st.booleans()),
    },
)
ADMINS = table(
    bind=st.sampled_from(["none", "unix:/run/\u00e9", "[::1]:0", "localhost:9"]),
    token_file=st.sampled_from(["auto", "/a b/c"]),
    hosts=st.lists(st.sampled_from(["lb.example", "lb.example:443", "[::1]:80"]), max_size=2),
) | st.just({"tls_certificate": "/a.pem", "tls_key": "b.pem"})


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
                    "max_connections": COUNTS,
                    "per_client": RATES,
                    "access": st.lists(RULES, max_size=3),
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
            "watch": draw(st.booleans()),
            "admin": draw(ADMINS),
        }
    )


VALIDATOR = jsonschema.Draft202012Validator(json_schema())


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


def test_the_schema_is_one_and_allows_the_example(tmp_path: Path) -> None:
    VALIDATOR.check_schema(json_schema())
    shown = to_toml(load(EXAMPLE))
    again = tmp_path / "again.toml"
    again.write_text(shown)
    VALIDATOR.validate(tomllib.loads(EXAMPLE.read_text()))
    VALIDATOR.validate(tomllib.loads(shown))
    assert load(again).config == load(EXAMPLE).config


@given(configs())
def test_the_schema_allows_whatever_the_models_do(config: Config) -> None:
    VALIDATOR.validate(tomllib.loads(to_toml(Settings(config, {}))))


def test_every_line_says_where_it_came_from(load_text: LoadText) -> None:
    settings = load_text(
        "[pools.web]\nstrategy = 'hash'\ncheck.interval = '1s'\nbackends = [\n{ address = 'A:1' }]",
        [
            Override(("listeners", "*", "access"), ["deny  all"], "--access"),
            Override(("listeners", "*", "idle_timeout"), "90s", "--idle-timeout"),
            Override(("limits", "max_connections"), 5, "TCPLB_MAX_CONNECTIONS"),
        ],
    )
    assert (
        to_toml(settings)
        == """\
workers = 1  # default
watch = false  # default

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
max_connections = 0  # default
max_new_per_second = 0  # default
burst = 0  # default
access = ["deny all"]  # --access

[listeners.per_client]  # default
max_new_per_second = 0  # default
burst = 0  # default
prefix = 32  # default
prefix_v6 = 64  # default
table_size = 100000  # default

[pools.web]  # tcplb.toml:1
strategy = "hash"  # tcplb.toml:2
hash_key = "auto"  # default
hash_balance_factor = 0  # default
maglev_table_size = 65537  # default
ewma_decay = "10s"  # default
slow_start = "0s"  # default
panic_threshold = 0  # default

[pools.web.eject]  # default
failures = 3  # default
failure_rate = 0.0  # default
window = "10s"  # default
min_connects = 20  # default
first_byte = false  # default
max_ejected_percent = 50  # default
base_time = "5s"  # default
step = "5s"  # default
max_time = "1m"  # default
jitter = 0.1  # default

[pools.web.check]  # tcplb.toml:3
type = "tcp"  # default
interval = "1s"  # tcplb.toml:3
fast_interval = "500ms"  # default
timeout = "2s"  # default
fall = 3  # default
rise = 2  # default
port = 0  # default

[pools.web.retry]  # default
attempts = 0  # default
budget_percent = 20  # default
budget_min = 3  # default

[pools.web.queue]  # default
size = 1000  # default
timeout = "5s"  # default
abort_on_close = true  # default

[[pools.web.backends]]  # tcplb.toml:5
address = "a:1"  # tcplb.toml:5
name = "a:1"  # default
weight = 1  # default
max_connections = 0  # default
tier = 0  # default
backup = false  # default
state = "enabled"  # default
check_port = 0  # default

[limits]  # default
max_connections = 5  # TCPLB_MAX_CONNECTIONS
drain_timeout = "30s"  # default
upgrade_timeout = "1h"  # default

[log]  # default
access = "-"  # default
format = "text"  # default
level = "info"  # default

[admin]  # default
bind = "127.0.0.1:9091"  # default
token_file = "auto"  # default
hosts = []  # default
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
    assert len(fields) == 88
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


@pytest.mark.parametrize("key", ["listeners", "pools", "limits", "log", "admin"])
def test_the_schema_has_the_tables(key: str) -> None:
    assert key in json_schema()["properties"]


def test_the_schema_has_the_choices() -> None:
    schema = json_schema()
    pool = schema["$defs"]["PoolConfig"]["properties"]
    assert pool["strategy"]["anyOf"][0]["enum"] == list(StrategyName)
    assert pool["hash_key"]["anyOf"][0]["enum"] == list(HashKey)
    engine = schema["$defs"]["ListenerConfig"]["properties"]["engine"]
    assert engine["enum"] == ["auto", "streams", "splice"]
    assert schema["properties"]["workers"]["anyOf"] == [
        {"type": "integer", "minimum": 1, "maximum": 256},
        {"const": "auto"},
    ]

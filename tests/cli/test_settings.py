from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tcplb.cli.config import show
from tcplb.cli.serve import serve
from tcplb.cli.settings import SettingsCommand, settings_options
from tcplb.config.models import BackendConfig
from tcplb.policy.names import HashKey, StrategyName
from tests.cli.invoke import invoke, origin, settings, shown

FLAGS = {option.opts[0]: option for option in serve.params if isinstance(option, click.Option)}

SAMPLES = {
    "--listen": "127.0.0.1:7001",
    "--backend": "127.0.0.1:7002",
    "--strategy": "hash",
    "--hash-key": "client",
    "--engine": "splice",
    "--workers": "3",
    "--connect-timeout": "7s",
    "--idle-timeout": "8m",
    "--half-close-timeout": "9s",
    "--first-line-timeout": "10ms",
    "--max-connections": "77",
    "--drain-timeout": "0s",
    "--access-log": "none",
    "--log-format": "json",
    "--log-level": "error",
    "--hash-balance-factor": "125",
    "--slow-start": "30s",
    "--panic-threshold": "40",
    "--check": "http",
    "--eject-failures": "5",
    "--attempts": "2",
    "--queue-size": "99",
    "--queue-timeout": "6s",
    "--max-new-per-second": "1000",
    "--admin-bind": "[::1]:7003",
    "--admin-token-file": "/secret/token",
}
"""A value for each flag that is not its default."""

KEYS = {
    "--listen": "bind",
    "--backend": "address",
    "--access-log": "access",
    "--log-format": "format",
    "--log-level": "level",
    "--check": "type",
    "--check-interval": "interval",
    "--check-path": "path",
    "--eject-failures": "failures",
    "--queue-size": "size",
    "--queue-timeout": "timeout",
    "--admin-bind": "bind",
    "--admin-token-file": "token_file",
}
"""The keys of those flags that are not called after them."""

TABLES = {
    "--max-connections": "[limits]",
    "--access-log": "[log]",
    "--check": "[pools.default.check]",
    "--queue-timeout": "[pools.default.queue]",
    "--max-new-per-second": "[[listeners]]",
    "--listen": "[[listeners]]",
    "--admin-bind": "[admin]",
}
"""The table of a flag whose key other tables have as well."""

OTHERS = {
    "--access": "everybody may",
    "--check": "no checks, but those of the file",
    "--check-interval": "2s",
    "--check-path": "/",
    "--watch": "false",
}
"""The defaults of the flags whose table or values are not there by default, or no text."""


BACKEND = BackendConfig(address="a:1").model_dump()


def variable(flag: str) -> str:
    return "TCPLB_" + flag.removeprefix("--").replace("-", "_").upper()


def table_of(flag: str, text: str) -> str:
    """What `config show` has printed: the flag's table, or all of it."""
    header = TABLES.get(flag, "")
    table = text[text.index(header) :]
    return table.partition("\n\n")[0] if header else table


def values_of(key: str, tree: Any) -> Iterator[str]:
    """All values that `key` has, anywhere in the settings."""
    if isinstance(tree, dict):
        if key in tree:
            yield str(tree[key])
        tree = list(tree.values())
    if isinstance(tree, list):
        for entry in tree:
            yield from values_of(key, entry)


def test_every_flag_has_a_sample_here() -> None:
    assert set(FLAGS) == set(SAMPLES) | set(OTHERS) | {"--config"}


def test_every_flag_is_also_a_variable_without_the_name_of_the_command() -> None:
    assert {flag: option.envvar for flag, option in FLAGS.items()} == {
        flag: variable(flag) for flag in FLAGS
    }


def test_config_show_takes_the_flags_and_variables_of_serve() -> None:
    assert [(p.name, p.opts, p.envvar) for p in show.params] == [
        (p.name, p.opts, p.envvar) for p in serve.params
    ]


@pytest.mark.parametrize("flag", SAMPLES)
def test_a_flag_and_its_variable_do_the_same(flag: str) -> None:
    value, key = SAMPLES[flag], KEYS.get(flag, flag.removeprefix("--").replace("-", "_"))
    by_flag = table_of(flag, shown(flag, value))
    by_variable = table_of(flag, shown(environment={variable(flag): value}))
    assert list(values_of(key, tomllib.loads(by_flag))) == [value]
    assert by_flag.replace(f"# {flag}", f"# {variable(flag)}") == by_variable
    assert origin(f"{key} =", by_flag) == flag


@pytest.mark.parametrize("flag", OTHERS)
def test_help_has_a_default_for_what_is_not_there(flag: str) -> None:
    assert (FLAGS[flag].help or "").endswith(f"[default: {OTHERS[flag]}]")


@pytest.mark.parametrize("flag", [flag for flag in SAMPLES if flag not in OTHERS])
def test_help_shows_the_default_that_the_settings_have(flag: str) -> None:
    key = KEYS.get(flag, flag.removeprefix("--").replace("-", "_"))
    default = ", ".join(values_of(key, tomllib.loads(table_of(flag, shown()))))
    help_text = FLAGS[flag].help or ""
    assert default
    assert help_text.endswith(f"[default: {default}]")


def test_flag_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "tcplb.toml"
    file.write_text('[[listeners]]\nidle_timeout = "2h"\n')
    from_file = ("--config", str(file))
    environment = {"TCPLB_IDLE_TIMEOUT": "3h"}
    layers = [
        shown(),
        shown(*from_file),
        shown(*from_file, environment=environment),
        shown(*from_file, "--idle-timeout", "4h", environment=environment),
    ]
    assert [line for text in layers for line in text.splitlines() if "idle_timeout" in line] == [
        'idle_timeout = "1h"  # default',
        f'idle_timeout = "2h"  # {file}:2',
        'idle_timeout = "3h"  # TCPLB_IDLE_TIMEOUT',
        'idle_timeout = "4h"  # --idle-timeout',
    ]


def test_repeatable_variables_are_separated_by_white_space() -> None:
    environment = {
        "TCPLB_LISTEN": "127.0.0.1:7001  [::1]:7002\n:7003",
        "TCPLB_BACKEND": " one=127.0.0.1:1,weight=2,max_connections=9 127.0.0.1:2 ",
    }
    got = settings(environment=environment)
    assert list(values_of("bind", got["listeners"])) == ["127.0.0.1:7001", "[::1]:7002", ":7003"]
    assert got["pools"]["default"]["backends"] == [
        BACKEND | {"address": "127.0.0.1:1", "name": "one", "weight": 2, "max_connections": 9},
        BACKEND | {"address": "127.0.0.1:2", "name": "127.0.0.1:2"},
    ]


def test_a_repeatable_flag_replaces_its_variable_and_does_not_add_to_it() -> None:
    environment = {"TCPLB_LISTEN": ":7001 :7002", "TCPLB_BACKEND": "a:1 b:2"}
    got = settings("--listen", ":7003", "--backend", "c:3", environment=environment)
    assert list(values_of("bind", got["listeners"])) == [":7003"]
    assert list(values_of("address", got)) == ["c:3"]


def test_variables_that_no_flag_has_are_ignored() -> None:
    environment = {"TCPLB_NO_SUCH": "1", "TCPLB_SERVE_STRATEGY": "hash", "TCPLB_FAILURES": "9"}
    assert shown(environment=environment) == shown()


@pytest.mark.parametrize("flag", FLAGS)
def test_an_empty_variable_is_as_good_as_none(flag: str) -> None:
    assert shown(environment={variable(flag): ""}) == shown()


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text('log.level = "debug"')
    (tmp_path / "two.toml").write_text('log.level = "error"')
    environment = {"TCPLB_CONFIG": str(tmp_path / "one.toml")}
    assert settings(environment=environment)["log"]["level"] == "debug"
    flag = ("--config", str(tmp_path / "two.toml"))
    assert settings(*flag, environment=environment)["log"]["level"] == "error"


def test_listen_and_backend_replace_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tcplb.toml"
    file.write_text(
        '[[listeners]]\nbind = ":1"\n[[listeners]]\nbind = ":2"\n'
        '[pools.web]\nstrategy = "hash"\nbackends = [{address = "a:1"}, {address = "b:1"}]\n'
    )
    flags = ("--listen", "[::1]:7001", "--backend", "one=c:1,weight=3")
    got = settings("--config", str(file), *flags)
    assert list(values_of("bind", got["listeners"])) == ["[::1]:7001"]
    assert got["pools"]["web"]["strategy"] == "hash"
    assert got["pools"]["web"]["backends"] == [
        BACKEND | {"address": "c:1", "name": "one", "weight": 3}
    ]


@pytest.mark.parametrize(("text", "value"), [("auto", "auto"), ("12", 12)])
def test_max_connections_is_a_number_or_auto(text: str, value: object) -> None:
    assert settings("--max-connections", text)["limits"]["max_connections"] == value


@pytest.mark.parametrize(("text", "value"), [("auto", "auto"), ("1", 1), ("256", 256)])
def test_workers_are_a_number_or_auto(text: str, value: object) -> None:
    assert settings("--workers", text)["workers"] == value


@pytest.mark.parametrize(
    ("text", "shown_as"),
    [
        ("0", "0"),
        ("257", "257"),
        ("-1", '"-1"'),
        ("1.5", '"1.5"'),
        ("true", '"true"'),
        ("many", '"many"'),
    ],
)
def test_what_is_no_number_of_workers_is_refused_in_words(text: str, shown_as: str) -> None:
    result = invoke("config", "show", "--workers", text)
    assert (result.exit_code, result.stdout) == (2, "")
    message = 'must be a whole number from 1 to 256, or "auto"'
    assert result.stderr.splitlines()[-1] == f"--workers: {message} (got {shown_as})"


@pytest.mark.parametrize(
    "flag", ["--strategy", "--backend", "--max-connections", "--idle-timeout", "--workers"]
)
def test_a_wrong_value_is_blamed_on_the_flag_or_the_variable_that_has_it(flag: str) -> None:
    wrong = "such,nonsense=1"
    by_flag = invoke("config", "show", flag, wrong)
    by_variable = invoke("config", "show", environment={variable(flag): wrong})
    assert by_flag.exit_code == by_variable.exit_code == 2
    assert flag in by_flag.stderr
    assert variable(flag) in by_variable.stderr
    assert not re.search(rf"{flag}\b", by_variable.stderr)


def test_an_enormous_number_of_connections_is_refused_in_words() -> None:
    result = invoke("config", "show", "--max-connections", "9" * 5000)
    assert result.exit_code == 2
    assert "--max-connections" in result.stderr


def pool(*flags: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    table = settings(*flags, environment=environment)["pools"]["default"]
    assert isinstance(table, dict)
    return table


def test_every_option_of_a_backend() -> None:
    text = "one=a:1,weight=2,max_connections=3,tier=1,backup,state=draining"
    assert pool("--backend", text, "--backend", "b:1")["backends"] == [
        BACKEND
        | {
            "name": "one",
            "weight": 2,
            "max_connections": 3,
            "tier": 1,
            "backup": True,
            "state": "draining",
        },
        BACKEND | {"address": "b:1", "name": "b:1"},
    ]


def test_access_rules_replace_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tcplb.toml"
    file.write_text('listeners = [{ access = ["deny all"] }]\n')
    flags = ("--config", str(file), "--access", "allow 10.0.0.0/8", "--access", "deny all")
    by_flag = settings(*flags)["listeners"][0]["access"]
    environment = {"TCPLB_ACCESS": "allow 10.0.0.0/8, deny all"}
    by_variable = settings(*flags[:2], environment=environment)["listeners"][0]["access"]
    assert by_flag == by_variable == ["allow 10.0.0.0/8", "deny all"]


@pytest.mark.parametrize("flag", ["--check-interval", "--check-path"])
def test_what_checks_are_like_does_not_turn_them_on(flag: str) -> None:
    value = {"--check-interval": "9s", "--check-path": "/x"}[flag]
    assert "check" not in pool(flag, value)
    assert "check" not in pool(environment={variable(flag): value})


def test_checks_by_flags_alone() -> None:
    flags = ("--check", "http", "--check-interval", "9s", "--check-path", "/x")
    check = pool(*flags)["check"]
    assert (check["type"], check["interval"], check["path"]) == ("http", "9s", "/x")
    assert "path" not in pool("--check", "tcp", "--check-path", "/x")["check"]


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--check-interval", "often", "must be a duration such as 250ms, 5s or 1h"),
        ("--check-path", "health", "must begin with a slash"),
    ],
)
def test_a_wrong_value_is_refused_even_where_it_has_no_place(
    flag: str, value: str, message: str
) -> None:
    for result in (
        invoke("config", "show", flag, value),
        invoke("config", "show", environment={variable(flag): value}),
    ):
        assert result.exit_code == 2
        assert message in result.stderr


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--strategy", "hsah", 'must be one of round-robin, .* did you mean "hash"'),
        ("--strategy", "a b:f", "must be a strategy or module:function"),
        ("--hash-key", "clent", 'must be one of auto, .* did you mean "client"'),
        ("--hash-key", "client/129", "must have prefix lengths as in client/24"),
        ("--hash-balance-factor", "99", "must be 0 .off. or a percentage over 100 .got 99"),
        ("--panic-threshold", "many", 'must be a whole number .got "many"'),
        ("--backend", "a:1,state=off", "state: must be one of enabled, draining, disabled"),
        ("--queue-size", "-1", 'must be a whole number .got "-1"'),
        ("--access", "allow", 'must be "allow" or "deny" and then a network'),
    ],
)
def test_a_wrong_value_is_a_usage_error_in_the_words_of_the_settings(
    flag: str, value: str, said: str
) -> None:
    result = invoke("config", "show", flag, value)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.match(f"{flag}: {said}", result.stderr)


@pytest.mark.parametrize(("flag", "value"), [("--strategy", "a.b:c"), ("--hash-key", "client/24")])
def test_values_that_no_list_has(flag: str, value: str) -> None:
    key = flag.removeprefix("--").replace("-", "_")
    assert pool(flag, value)[key] == value


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ("--strategy ", [*StrategyName]),
        ("--strategy r", ["round-robin", "random", "rendezvous"]),
        ("--hash-key ", [*HashKey]),
        ("--check ", ["tcp", "http", "send-expect"]),
    ],
)
def test_what_the_shell_offers(words: str, offers: list[str]) -> None:
    asked = {
        "_TCPLB_COMPLETE": "bash_complete",
        "COMP_WORDS": f"tcplb serve {words}",
        "COMP_CWORD": "3",
    }
    assert invoke(environment=asked).stdout.split() == [f"plain,{offer}" for offer in offers]


def test_the_help_has_headings() -> None:
    @click.command(cls=SettingsCommand)
    @settings_options
    def command(**_: object) -> None:
        """Do nothing."""

    lines = CliRunner().invoke(command, ["--help"]).stdout.splitlines()
    headings = [line for line in lines if re.fullmatch("[A-Z].*:", line)]
    assert headings == [
        "Options:",
        "Listeners:",
        "Backends, and how one is chosen:",
        "Backends that fail or are full:",
        "The whole process:",
        "Operation:",
    ]
    first = lines.index("Options:")
    assert "--config" in lines[first + 1]
    assert any("--help" in line for line in lines[first : lines.index("Listeners:")])

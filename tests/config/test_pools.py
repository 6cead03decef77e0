"""What each key of a pool takes, and what is said of all else."""

from __future__ import annotations

import pytest

from tests.config.conftest import LoadText, ProblemsOf

MOST = 1_000_000_000
WHOLE = "must be a whole number"
SWITCH = "must be true or false"
PREFIX = "must have prefix lengths as in client/24 (IPv4), client/64 (IPv6) or client/24/64"
PERCENTAGE = "must be 0 (off) or a percentage over 100"


def pool(line: str) -> str:
    return f"[pools.web]\n{line}\nbackends = [{{ address = 'a:1' }}]\n"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("strategy", f"'{name}'") for name in ("random", "power-of-two", "maglev", "first")),
        *(("strategy", f"'{name}'") for name in ("m:f", "a.b_1:C.d")),
        *(("hash_key", f"'{key}'") for key in ("first-line", "destination", "client")),
        *(("hash_key", f"'client/{rest}'") for rest in ("1", "24", "33", "128", "24/64")),
        *(("hash_balance_factor", str(number)) for number in (0, 101, 125)),
        *(("maglev_table_size", str(number)) for number in (2, 3, 251, 65537, 10_000_019)),
        ("ewma_decay", "'1ms'"),
        ("slow_start", "'0s'"),
        ("slow_start", "'1m'"),
        *((key, number) for key in ("panic_threshold",) for number in ("0", "100")),
        *((f"eject.{key}", "0") for key in ("failures", "failure_rate", "max_ejected_percent")),
        ("eject.failures", str(MOST)),
        ("eject.failure_rate", "1.0"),
        ("eject.window", "'1ms'"),
        ("eject.min_connects", "1"),
        ("eject.first_byte", "true"),
        ("eject.max_ejected_percent", "100"),
        *((f"retry.{key}", "0") for key in ("attempts", "budget_percent")),
        ("retry.budget_percent", "100"),
        ("retry.budget_min", "1"),
        ("queue.size", "0"),
        ("queue.timeout", "'1ms'"),
        ("queue.abort_on_close", "false"),
    ],
)
def test_right_values(load_text: LoadText, key: str, value: str) -> None:
    load_text(pool(f"{key} = {value}"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("strategy", '"a b:f"', "must be a strategy or module:function"),
        ("strategy", '":f"', "must be a strategy or module:function"),
        ("hash_key", '"client/0"', PREFIX),
        ("hash_key", '"client/129"', PREFIX),
        ("hash_key", '"client/64/24"', PREFIX),
        ("hash_key", '"client/"', PREFIX),
        ("hash_balance_factor", "100", PERCENTAGE),
        ("hash_balance_factor", "-1", PERCENTAGE),
        ("hash_balance_factor", "false", PERCENTAGE),
        ("hash_balance_factor", "125.5", PERCENTAGE),
        ("maglev_table_size", "65536", "must be a prime number"),
        ("maglev_table_size", "1", "must be a prime number up to 10000019"),
        ("maglev_table_size", "10000079", "must be a prime number up to 10000019"),
        ("maglev_table_size", "true", "must be a prime number up to 10000019"),
        ("ewma_decay", '"0s"', "must be longer than 0s"),
        ("slow_start", "5", 'must be a duration in quotes, such as "250ms", "5s" or "1h"'),
        ("panic_threshold", "-1", "must be at least 0"),
        ("panic_threshold", "101", "must be at most 100"),
        ("panic_threshold", "50.0", WHOLE),
        ("eject.failures", "-1", "must be at least 0"),
        ("eject.failures", str(MOST + 1), f"must be at most {MOST}"),
        ("eject.failure_rate", "-0.1", "must be at least 0"),
        ("eject.failure_rate", "1.1", "must be at most 1"),
        ("eject.failure_rate", "nan", "must be at most 1"),
        ("eject.failure_rate", "true", "must be a number"),
        ("eject.window", '"0s"', "must be longer than 0s"),
        ("eject.min_connects", "0", "must be at least 1"),
        ("eject.first_byte", "1", SWITCH),
        ("eject.max_ejected_percent", "-1", "must be at least 0"),
        ("eject.max_ejected_percent", "101", "must be at most 100"),
        ("retry.attempts", "-1", "must be at least 0"),
        ("retry.attempts", "true", WHOLE),
        ("retry.budget_percent", "-1", "must be at least 0"),
        ("retry.budget_percent", "101", "must be at most 100"),
        ("retry.budget_min", "0", "must be at least 1"),
        ("queue.size", "-1", "must be at least 0"),
        ("queue.size", str(MOST + 1), f"must be at most {MOST}"),
        ("queue.timeout", '"0s"', "must be longer than 0s"),
        ("queue.abort_on_close", '"no"', SWITCH),
    ],
)
def test_wrong_values(problems_of: ProblemsOf, key: str, value: str, message: str) -> None:
    assert problems_of(pool(f"{key} = {value}")) == [
        f"tcplb.toml:2: pools.web.{key}: {message} (got {value})"
    ]


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("power_of_two", '; did you mean "power-of-two"?'),
        ("rendevous", '; did you mean "rendezvous"?'),
        ("xyz", ""),
    ],
)
def test_a_strategy_that_is_none(problems_of: ProblemsOf, given: str, hint: str) -> None:
    (problem,) = problems_of(pool(f"strategy = '{given}'"))
    assert problem.endswith(f'first, module:function (got "{given}"{hint})')


def test_a_hash_key_that_is_none(problems_of: ProblemsOf) -> None:
    assert problems_of(pool("hash_key = 'first_line'")) == [
        "tcplb.toml:2: pools.web.hash_key: must be one of auto, client, request, first-line,"
        ' destination, client/24, client/64 (got "first_line"; did you mean "first-line"?)'
    ]


def test_a_hash_key_in_its_one_form(load_text: LoadText) -> None:
    assert load_text(pool("hash_key = 'client/024/128'")).config.pools["web"].hash_key == (
        "client/24"
    )


@pytest.mark.parametrize("table", ["eject", "check", "retry", "queue"])
def test_an_unknown_key_in_a_table(problems_of: ProblemsOf, table: str) -> None:
    (problem,) = problems_of(pool(f"{table}.x_y_z = 1"))
    assert problem.startswith(f"tcplb.toml:2: pools.web.{table}.x_y_z: unknown key (known here: ")


@pytest.mark.parametrize(
    "option",
    [
        "tier = 0",
        "tier = 15",
        "backup = true",
        "check_port = 0",
        "check_port = 65535",
        *(f"state = '{state}'" for state in ("enabled", "draining", "disabled")),
        f"max_connections = {MOST}",
    ],
)
def test_right_options_of_a_backend(load_text: LoadText, option: str) -> None:
    load_text(f"[pools.web]\nbackends = [\n{{ address = 'a:1', {option} }}]\n")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tier", "-1", "must be at least 0"),
        ("tier", "16", "must be at most 15"),
        ("tier", "true", WHOLE),
        ("backup", "1", SWITCH),
        ("state", '"drain"', "must be one of enabled, draining, disabled"),
        ("check_port", "-1", "must be at least 0"),
        ("check_port", "65536", "must be at most 65535"),
        ("max_connections", str(MOST + 1), f"must be at most {MOST}"),
    ],
)
def test_wrong_options_of_a_backend(
    problems_of: ProblemsOf, key: str, value: str, message: str
) -> None:
    (problem,) = problems_of(f"[pools.web]\nbackends = [\n{{ address='a:1', {key}={value} }}]\n")
    assert problem.startswith(f"tcplb.toml:3: pools.web.backends[0].{key}: {message} (got {value}")

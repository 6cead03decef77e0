from __future__ import annotations

import pytest

from tcplb.config.describe import to_toml
from tcplb.config.models import CheckConfig
from tcplb.config.overrides import Override
from tests.config.conftest import LoadText, ProblemsOf

POOL = "[pools.web]\nbackends = [{ address = 'a:1' }]\n[pools.web.check]\n"
VALUES = {
    "method": "GET",
    "path": "/",
    "host": "a",
    "status": "200",
    "body": "x",
    "send": "x",
    "expect": "x",
}
HTTP = ["method", "path", "host", "status", "body"]
SEND_EXPECT = ["send", "expect"]


def flag(key: str, value: object, *, needs_table: bool = False) -> Override:
    return Override(("pools", "*", "check", key), value, f"--check-{key}", needs_table)


@pytest.mark.parametrize(
    ("kind", "key", "other"),
    [
        *(("tcp", key, "http") for key in HTTP),
        *(("tcp", key, "send-expect") for key in SEND_EXPECT),
        *(("send-expect", key, "http") for key in HTTP),
        *(("http", key, "send-expect") for key in SEND_EXPECT),
    ],
)
def test_a_key_of_another_type_of_check(
    problems_of: ProblemsOf, kind: str, key: str, other: str
) -> None:
    assert problems_of(f"{POOL}type = '{kind}'\n{key} = '{VALUES[key]}'\n") == [
        f'tcplb.toml:5: pools.web.check.{key}: is only for checks of type "{other}" (this one is'
        f' "{kind}")'
    ]


def test_the_type_may_be_the_default(problems_of: ProblemsOf) -> None:
    assert problems_of(f"{POOL}path = '/'\n") == [
        'tcplb.toml:4: pools.web.check.path: is only for checks of type "http" (this one is "tcp")'
    ]


@pytest.mark.parametrize(("kind", "keys"), [("http", HTTP), ("send-expect", SEND_EXPECT)])
def test_the_keys_of_its_own_type(load_text: LoadText, kind: str, keys: list[str]) -> None:
    lines = "".join(f"{key} = '{VALUES[key]}'\n" for key in keys)
    check = load_text(f"{POOL}type = '{kind}'\n{lines}").config.pools["web"].check
    assert check == CheckConfig.model_validate({"type": kind, **{key: VALUES[key] for key in keys}})


def test_of_an_unknown_type_nothing_else_is_said(problems_of: ProblemsOf) -> None:
    assert problems_of(f"{POOL}type = 'htpp'\npath = '/'\nsend = 'x'\n") == [
        'tcplb.toml:4: pools.web.check.type: must be one of tcp, http, send-expect (got "htpp"; did'
        ' you mean "http"?)'
    ]


@pytest.mark.parametrize("overrides", [[], [flag("type", "tcp")]])
def test_a_check_that_is_no_table_has_that_one_problem(
    problems_of: ProblemsOf, overrides: list[Override]
) -> None:
    text = "[pools.web]\nbackends = [{ address = 'a:1' }]\ncheck = 'http'\n"
    assert problems_of(text, overrides) == [
        'tcplb.toml:3: pools.web.check: must be a table (got "http")'
    ]


def test_a_flag_may_change_the_type_and_leave_keys_over(load_text: LoadText) -> None:
    text = f"{POOL}type = 'http'\npath = '/health'\nfall = 9\n"
    settings = load_text(text, [flag("type", "tcp")])
    assert settings.config.pools["web"].check == CheckConfig(fall=9)
    assert load_text(to_toml(settings)).config == settings.config


def test_a_flag_may_have_a_key_that_only_some_checks_use(load_text: LoadText) -> None:
    text = (
        f"listeners = [{{ pool = 'web' }}]\n{POOL}type = 'http'\n"
        "[pools.db]\nbackends = [{ address = 'a:1' }]\ncheck = {}\n"
    )
    pools = load_text(text, [flag("path", "/x", needs_table=True)]).config.pools
    assert pools["web"].check == CheckConfig(type="http", path="/x")
    assert pools["db"].check == CheckConfig()


@pytest.mark.parametrize("table", ["", "per_client."])
@pytest.mark.parametrize("rate", ["", "max_new_per_second = 0\n"])
def test_a_burst_without_a_rate(problems_of: ProblemsOf, table: str, rate: str) -> None:
    text = f"[[listeners]]\n{table}burst = 5\n{table if rate else ''}{rate}"
    assert problems_of(text) == [
        f"tcplb.toml:2: listeners[0].{table}burst: needs max_new_per_second beside it, which is not"
        " set (got 5)"
    ]


@pytest.mark.parametrize("table", ["", "per_client."])
@pytest.mark.parametrize(("burst", "rate"), [(5, 1), (0, 0), (0, 1)])
def test_a_burst_with_a_rate(load_text: LoadText, table: str, burst: int, rate: int) -> None:
    load_text(f"[[listeners]]\n{table}burst = {burst}\n{table}max_new_per_second = {rate}\n")


def test_a_burst_beside_a_rate_that_is_wrong(problems_of: ProblemsOf) -> None:
    assert problems_of("[[listeners]]\nburst = 5\nmax_new_per_second = 'x'\n") == [
        'tcplb.toml:3: listeners[0].max_new_per_second: must be a whole number (got "x")'
    ]


def test_a_flag_may_take_the_rate_away(load_text: LoadText) -> None:
    override = Override(("listeners", "*", "max_new_per_second"), 0, "--max-new-per-second")
    settings = load_text("[[listeners]]\nburst = 5\nmax_new_per_second = 9\n", [override])
    assert settings.config.listeners[0].burst == 0
    assert load_text(to_toml(settings)).config == settings.config


def test_a_flag_may_give_the_rate(load_text: LoadText) -> None:
    override = Override(("listeners", "*", "max_new_per_second"), 9, "--max-new-per-second")
    assert load_text("[[listeners]]\nburst = 5\n", [override]).config.listeners[0].burst == 5


def test_a_backup_of_another_tier(problems_of: ProblemsOf) -> None:
    text = "[pools.web]\nbackends = [\n{ address = 'a:1', backup = true, tier = 2 }]\n"
    message = "tier: must not be there beside backup, which means tier 1 (got 2)"
    assert problems_of(text) == [f"tcplb.toml:3: pools.web.backends[0].{message}"]
    backend = {"address": "a:1", "backup": True, "tier": 2}
    assert problems_of("", [Override(("backends",), [backend], "--backend")]) == [
        f"--backend: {message}"
    ]


@pytest.mark.parametrize(("backup", "tier"), [("true", 0), ("true", 1), ("false", 2)])
def test_a_backup_and_a_tier_that_agree(load_text: LoadText, backup: str, tier: int) -> None:
    backend = f"{{ address = 'a:1', backup = {backup}, tier = {tier} }}"
    load_text(f"[pools.web]\nbackends = [{backend}]\n")


def test_what_a_flag_may_make_useful_is_no_problem(load_text: LoadText) -> None:
    load_text(
        "[pools.web]\nstrategy = 'round-robin'\nhash_key = 'client/24'\nhash_balance_factor = 125\n"
        "maglev_table_size = 251\newma_decay = '1s'\neject = { failures = 0, failure_rate = 0 }\n"
        "backends = [{ address = 'a:1', state = 'draining' }, { address = 'a:2', state = 'disabled'"
        " }]\n[pools.web.check]\ninterval = '1s'\ntimeout = '1h'\n"
    )

from __future__ import annotations

import pytest

from tests.config.conftest import LoadText, ProblemsOf

POOLS = """
[pools.web]
backends = [{ address = "a:1" }]
[pools.db]
backends = [{ address = "a:2" }]
"""


@pytest.mark.parametrize(
    ("pool", "hint"),
    [("wbe", 'did you mean "web"?'), ("nosuch", "pools: web, db"), ("DB", 'did you mean "db"?')],
)
def test_no_such_pool(problems_of: ProblemsOf, pool: str, hint: str) -> None:
    text = f"[[listeners]]\npool = '{pool}'\n{POOLS}"
    assert problems_of(text) == [
        f'tcplb.toml:2: listeners[0].pool: no such pool (got "{pool}"; {hint})'
    ]


def test_a_pool_that_is_wrong_exists_all_the_same(problems_of: ProblemsOf) -> None:
    text = "[[listeners]]\npool = 'web'\n[pools]\nweb = 5\n"
    assert problems_of(text) == ["tcplb.toml:4: pools.web: must be a table (got 5)"]


def test_without_pools_there_is_only_the_default_pool(problems_of: ProblemsOf) -> None:
    assert problems_of("[[listeners]]\npool = 'web'\n") == [
        'tcplb.toml:2: listeners[0].pool: no such pool (got "web"; pools: default)'
    ]


def test_two_listeners_of_one_name(problems_of: ProblemsOf) -> None:
    text = "[[listeners]]\nname='a'\nbind=':1'\n[[listeners]]\nname='a'\nbind=':2'\n"
    assert problems_of(text) == [
        'tcplb.toml:5: listeners[1].name: must be unique, but listeners[0] has it too (got "a")'
    ]


def test_two_listeners_on_one_address(problems_of: ProblemsOf) -> None:
    text = "[[listeners]]\nbind='*:1'\n[[listeners]]\nbind=':1'\n"
    assert problems_of(text) == [
        'tcplb.toml:4: listeners[1].bind: must be unique, but listeners[0] has it too (got ":1")'
    ]


def test_two_listeners_on_the_default_address(problems_of: ProblemsOf) -> None:
    text = "[[listeners]]\n[[listeners]]\n"
    assert problems_of(text) == [
        "tcplb.toml:2: listeners[1].bind: must be unique, but listeners[0] has it too"
        ' (got "127.0.0.1:9090")'
    ]


def test_any_number_of_listeners_on_free_ports(load_text: LoadText) -> None:
    config = load_text("listeners = [{bind='[::1]:0'}, {bind='[::1]:0'}, {bind='[::1]:0'}]").config
    assert [listener.name for listener in config.listeners] == [
        "[::1]:0",
        "[::1]:0-2",
        "[::1]:0-3",
    ]


def test_two_backends_of_one_name(problems_of: ProblemsOf) -> None:
    text = "[pools.web]\nbackends=[\n{name='b', address='a:1'},\n{name='b', address='a:2'}]"
    assert problems_of(text) == [
        "tcplb.toml:4: pools.web.backends[1].name: must be unique in its pool,"
        ' but pools.web.backends[0] has it too (got "b")'
    ]


def test_two_backends_on_one_address_need_names(problems_of: ProblemsOf) -> None:
    text = "[pools.web]\nbackends=[\n{address='a:1'},\n{address='A:1'}]"
    assert problems_of(text) == [
        'tcplb.toml:4: pools.web.backends[1].address: must be unique in its pool unless it has a "'
        'name", but pools.web.backends[0] has it too (got "a:1")'
    ]


def test_names_and_addresses_may_repeat_where_that_is_clear(load_text: LoadText) -> None:
    text = """
    listeners = [{ bind = ":1", pool = "web" }, { bind = ":2", pool = "db" }]
    [pools]
    web.backends = [{ name = "x", address = "a:1" }, { name = "y", address = "a:1" }]
    db.backends = [{ name = "x", address = "a:1" }]
    """
    assert list(load_text(text).config.pools) == ["web", "db"]


def test_the_deadline_may_be_shorter_than_one_attempt(load_text: LoadText) -> None:
    text = "[[listeners]]\nconnect_timeout='20s'\nconnect_deadline='10s'"
    assert load_text(text).config.listeners[0].connect_deadline == 10.0

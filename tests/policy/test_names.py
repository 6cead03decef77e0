"""The names that a user may write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.policy.names import HashKey, KeyRule, names_function, parse_key_rule


@pytest.mark.parametrize("key", list(HashKey))
def test_key_without_a_prefix(key: HashKey) -> None:
    assert parse_key_rule(str(key)) == KeyRule(key, 32, 128)


@pytest.mark.parametrize(
    ("text", "prefix", "prefix_v6"),
    [
        ("client/24", 24, 128),
        ("client/1", 1, 128),
        ("client/32", 32, 128),
        ("client/33", 32, 33),
        ("client/64", 32, 64),
        ("client/128", 32, 128),
        ("client/24/56", 24, 56),
        ("client/32/64", 32, 64),
    ],
)
def test_client_with_prefixes(text: str, prefix: int, prefix_v6: int) -> None:
    assert parse_key_rule(text) == KeyRule(HashKey.CLIENT, prefix, prefix_v6)


@given(st.integers(1, 32), st.integers(33, 128))
def test_rule_is_read_as_it_is_written(prefix: int, prefix_v6: int) -> None:
    rule = KeyRule(HashKey.CLIENT, prefix, prefix_v6)
    assert parse_key_rule(str(rule)) == rule


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Client",
        "client/",
        "client/0",
        "client/129",
        "client/-1",
        "client/x",
        "client/24/",
        "client/24/24",
        "client/56/24",
        "client/56/64",
        "client/24/129",
        "client/24/56/64",
        "client/24\n",
        "client/٢٤",
        "request/24",
        "auto/24",
        " client/24",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_key_rule(text)


@pytest.mark.parametrize("text", ["mine:order", "my.strategies:Sticky.make", "_a1:_b2"])
def test_names_of_functions(text: str) -> None:
    assert names_function(text)


@pytest.mark.parametrize(
    "text",
    ["", "hash", "mine:", ":order", "mine:order()", "a:b:c", "1a:b", "a-b:c", "a..b:c", "a:b\n"],
)
def test_names_of_no_function(text: str) -> None:
    assert not names_function(text)

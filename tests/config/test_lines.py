from __future__ import annotations

import tomllib

import pytest
from hypothesis import given

from tcplb.config.document import paths_of
from tcplb.config.lines import key_lines, nearest
from tests.config.toml_texts import documents


@given(documents())
def test_the_paths_are_those_of_tomllib(text: str) -> None:
    assert {(), *key_lines(text)} == set(paths_of(tomllib.loads(text)))


@given(documents())
def test_every_line_is_one_of_the_text(text: str) -> None:
    assert all(1 <= line <= text.count("\n") + 1 for line in key_lines(text).values())


TEXT = '''\
title = "[x]"  # a.b = 1
limits.max = 5

[pools.web.eject]
failures = 3
note = """
[not.a.table]
neither = "a key"
"""
after = 1
[pools.web]
strategy = "hash"
backends = [
  { address = "a" },

  # a comment ]
  { "address" = 'b', weight = 2 }, [1,
    2],
]
[[listeners]]
[listeners.tls]
cert = 1
[[listeners]]
name = "b"
'quoted "key"'."\\u0041" = 1
[[listeners.inner]]
[[listeners.inner]]
x = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 1),
        (("limits",), 2),
        (("limits", "max"), 2),
        (("pools",), 4),
        (("pools", "web", "eject", "failures"), 5),
        (("pools", "web", "eject", "note"), 6),
        (("pools", "web", "eject", "after"), 10),
        (("pools", "web"), 11),
        (("pools", "web", "backends"), 13),
        (("pools", "web", "backends", 0, "address"), 14),
        (("pools", "web", "backends", 1), 17),
        (("pools", "web", "backends", 1, "weight"), 17),
        (("pools", "web", "backends", 2, 1), 18),
        (("listeners",), 20),
        (("listeners", 0), 20),
        (("listeners", 0, "tls", "cert"), 22),
        (("listeners", 1), 23),
        (("listeners", 1, 'quoted "key"', "A"), 25),
        (("listeners", 1, "inner", 0), 26),
        (("listeners", 1, "inner", 1, "x"), 28),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines(path: tuple[str | int, ...], line: int, newline: str) -> None:
    assert key_lines(TEXT.replace("\n", newline))[path] == line


def test_nothing_in_a_multi_line_string_is_a_key() -> None:
    assert not any("neither" in path or "not" in path for path in key_lines(TEXT))


def test_an_empty_text_has_no_lines() -> None:
    assert key_lines("") == {}


def test_what_is_not_toml_does_not_loop() -> None:
    with pytest.raises(ValueError, match="line 2"):
        key_lines("a = 1\n!")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (("a", "b"), ("a", "b")),
        (("a", "c", 0), ("a",)),
        (("x",), None),
    ],
)
def test_nearest(path: tuple[str | int, ...], found: tuple[str | int, ...] | None) -> None:
    assert nearest(path, {("a",): 1, ("a", "b"): 2}) == found


def test_nearest_may_be_the_document() -> None:
    assert nearest(("x", "y"), {(): 1}) == ()

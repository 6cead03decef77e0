from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.config.keypath import format_key, format_path
from tcplb.config.wording import closest, one_of, printable, quote, show


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("web", '"web"'),
        ('say "hi"\\', '"say \\"hi\\"\\\\"'),
        ("a\n\x1b[31m\u202e\ud800", '"a\\n\\x1b[31m\\u202e\\ud800"'),
        ("x" * 60, f'"{"x" * 60}"'),
        ("x" * 61, f'"{"x" * 60}..."'),
        (True, "true"),
        (False, "false"),
        (-5, "-5"),
        (0.5, "0.5"),
        ({"a": 1}, "a table"),
        ([1], "an array"),
        ((1,), "an array"),
        (date(1979, 5, 27), "1979-05-27"),
    ],
)
def test_show(value: object, shown: str) -> None:
    assert show(value) == shown


@given(st.text())
def test_what_is_shown_is_one_printable_line(text: str) -> None:
    assert quote(text).isprintable()
    assert printable(text).isprintable()


@pytest.mark.parametrize(
    ("word", "choice"), [("hsah", "hash"), ("HASH", "hash"), ("xyz", None), ("", None)]
)
def test_closest(word: str, choice: str | None) -> None:
    assert closest(word, ["round-robin", "hash"]) == choice


def test_one_of() -> None:
    assert one_of(["a-b", "c"], "a_b") == 'must be one of a-b, c (got "a_b"; did you mean "a-b"?)'
    assert one_of(["text"], 5) == "must be one of text (got 5)"


@pytest.mark.parametrize(
    ("key", "written"),
    [("web-1", "web-1"), ("a b", '"a b"'), ("", '""'), ("x" * 61, f'"{"x" * 60}..."')],
)
def test_format_key(key: str, written: str) -> None:
    assert format_key(key) == written


def test_format_path() -> None:
    path = ("pools", "a b", "backends", 0, "weight")
    assert format_path(path) == 'pools."a b".backends[0].weight'
    assert format_path(()) == ""


def test_a_number_too_long_to_write_out() -> None:
    # Python refuses to write it in decimal.
    assert show(1 << 100_000) == "an enormous number"

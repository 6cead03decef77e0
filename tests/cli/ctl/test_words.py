from __future__ import annotations

import pytest

from tcplb.cli.ctl.output import facts, table
from tcplb.cli.ctl.words import age, clock, limit


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (-5, "0s"),
        (0.9, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (61, "1m 1s"),
        (3600, "1h"),
        (3601, "1h"),
        (8000, "2h 13m"),
        (86399, "23h 59m"),
        (90000, "1d 1h"),
        (864000 + 60, "10d"),
    ],
)
def test_ages(seconds: float | None, words: str) -> None:
    assert age(seconds) == words


def test_a_moment_that_is_not_known() -> None:
    assert clock(None) == "–"


def test_limits() -> None:
    assert (limit(1000, 0), limit(1000, 2000)) == ("1,000", "1,000 of 2,000")


def test_a_table_has_numbers_flush_right() -> None:
    rows = [("name", "n", "why"), ("a", "10", "x"), ("long name", "5", "")]
    assert list(table(rows, right=("n",))) == [
        "name        n  why",
        "a          10  x",
        "long name   5",
    ]


def test_a_coloured_cell_is_as_wide_as_a_plain_one() -> None:
    rows = [("state", "x"), ("up", "1"), ("draining", "2")]
    assert list(table(rows))[1] == "\x1b[32mup\x1b[0m        1"


def test_facts() -> None:
    assert list(facts([("a", "1"), ("long", "\x07")])) == ["a     1", "long  \\x07"]

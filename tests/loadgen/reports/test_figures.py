from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.loadgen.reports import figures


def test_the_examples_in_the_docstrings_hold() -> None:
    failed, tried = doctest.testmod(figures)
    assert failed == 0
    assert tried >= 7


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (0.0, "0 µs"),
        (0.0004, "0.400 µs"),
        (0.9994, "999 µs"),
        (0.9996, "1.00 ms"),
        (999.4, "999 ms"),
        (999.9, "1.00 s"),
        (4_398_046.0, "4,398 s"),
        (None, "–"),
    ],
)
def test_a_time_has_the_unit_that_keeps_it_below_1000(ms: float | None, shown: str) -> None:
    assert figures.time(ms) == shown


@pytest.mark.parametrize(
    ("octets", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (2.5e9, "2.50 GB"), (1e18, "1,000,000 TB")],
)
def test_a_size_is_in_powers_of_1000(octets: float, shown: str) -> None:
    assert figures.size(octets) == shown


@given(st.floats(1e-9, 1e12))
def test_a_number_is_right_in_three_digits(value: float) -> None:
    shown = figures.number(value)
    assert float(shown.replace(",", "")) == pytest.approx(value, rel=0.0051)
    assert len(shown.replace(",", "").replace(".", "").lstrip("0")) >= 3


@given(st.text(), st.integers(1, 20))
def test_nothing_that_is_printable_moves_the_cursor_or_is_too_long(text: str, most: int) -> None:
    shown = figures.printable(text, most)
    assert shown.isprintable()
    assert len(shown) <= most
    assert figures.printable(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\nb", "a\\nb"),
        ("\u202egnp", "\\u202egnp"),
        ("\ud800", "\\ud800"),
        ("größe", "größe"),
    ],
)
def test_what_is_not_printable_is_written_out(text: str, shown: str) -> None:
    assert figures.printable(text) == shown

from __future__ import annotations

import pytest

from echo_backends.faults import (
    Faults,
    format_greeting,
    parse_duration,
    parse_greeting,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("50ms", 0.05), ("2s", 2.0), ("1.5m", 90.0), ("0s", 0.0), ("250us", 0.00025), ("1h", 3600)],
)
def test_durations_have_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "50", "ms", "-1s", "1 s", "1d", "1s1s", "nan"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write it like 50ms"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("1000", 1000), ("7B", 7), ("64KiB", 65536), ("2MB", 2_000_000)]
)
def test_sizes_may_have_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "KiB", "-1", "1.5KiB", "64K", "1e3"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write it like 1000, 64KiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "greeting"),
    [
        ("", b""),
        (r"220 hello\r\n", b"220 hello\r\n"),
        (r"\\r \x00\xfF\t\0", b"\\r \x00\xff\t\0"),
        ("né", "né".encode()),
    ],
)
def test_greetings_have_escapes(text: str, greeting: bytes) -> None:
    assert parse_greeting(text) == greeting


@pytest.mark.parametrize("text", [r"\q", r"\x4", "end\\", r"\é"])
def test_escapes_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="means nothing"):
        parse_greeting(text)


def test_any_greeting_can_be_written() -> None:
    greeting = bytes(range(256))
    assert format_greeting(greeting).isascii()
    assert parse_greeting(format_greeting(greeting)) == greeting


def test_a_connection_ends_in_one_way() -> None:
    with pytest.raises(ValueError, match="not by both"):
        Faults(reset_after=1, close_after=1)


def test_the_limit_is_of_whichever_end_was_asked_for() -> None:
    assert Faults().limit is None
    assert Faults(reset_after=0).limit == 0
    assert Faults(close_after=7).limit == 7

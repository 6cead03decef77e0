from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.config.units import (
    DURATION_PATTERN,
    format_address,
    format_duration,
    parse_address,
    parse_duration,
)


def error_of(function: object, *args: object, **kwargs: object) -> str:
    assert callable(function)
    with pytest.raises(ValueError, match=r"^(must|Unix)") as caught:
        function(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("3ms", 0.003),
        ("5s", 5.0),
        ("0.5s", 0.5),
        ("0s", 0.0),
        ("1.5m", 90.0),
        ("2.3h", 8280.0),
        ("1h", 3600.0),
        ("2d", 172800.0),
        ("365d", 31536000.0),
    ],
)
def test_parse_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "5 s", " 5s", "5s\n", "-5s", "5S", ".5s", "5.s", "1e3s", "٣s", "1h30m", "5us"],
)
def test_what_is_no_duration(text: str) -> None:
    assert error_of(parse_duration, text).startswith("must be a duration such as 250ms, 5s or 1h (")


def test_the_error_repeats_what_was_given() -> None:
    expected = 'must be a duration such as 250ms, 5s or 1h (got "5 parsecs")'
    assert error_of(parse_duration, "5 parsecs") == expected


@pytest.mark.parametrize("text", ["366d", "9" * 400 + "s"])
def test_a_duration_has_an_upper_bound(text: str) -> None:
    assert error_of(parse_duration, text).startswith('must be at most 365d (got "')


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3600.0, "1h"),
        (60.0, "1m"),
        (90.0, "90s"),
        (0.25, "250ms"),
        (0.0, "0s"),
        (172800.0, "2d"),
        (1.5, "1500ms"),
        (0.0005, "0.0005s"),
        (0.1 + 0.2, "0.30000000000000004s"),
        (1e-9, "0.000000001s"),
    ],
)
def test_format_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(0, 365 * 86400))
def test_format_duration_round_trips(seconds: float) -> None:
    text = format_duration(seconds)
    assert parse_duration(text) == seconds
    assert re.fullmatch(DURATION_PATTERN, text)


@given(st.integers(0, 10**7), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_any_whole_duration_round_trips(count: int, unit: str) -> None:
    try:
        seconds = parse_duration(f"{count}{unit}")
    except ValueError:
        assert count > 365
        return
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9090", ("127.0.0.1", 9090)),
        ("127.0.0.1:08081", ("127.0.0.1", 8081)),
        ("[::1]:9090", ("::1", 9090)),
        ("[0:0:0:0:0:0:0:1]:9090", ("::1", 9090)),
        ("[fe80::1%eth0]:80", ("fe80::1%eth0", 80)),
        ("db.internal:5432", ("db.internal", 5432)),
        ("my_db.:5432", ("my_db.", 5432)),
        ("LOCALHOST:80", ("localhost", 80)),
        ("x:1", ("x", 1)),
        ("x:65535", ("x", 65535)),
    ],
)
def test_parse_address(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
    assert parse_address(format_address(*address)) == address
    assert parse_address(text, bind=True) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [(":9090", ("", 9090)), ("*:9090", ("", 9090)), (":0", ("", 0)), ("[::]:0", ("::", 0))],
)
def test_parse_address_to_bind(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text, bind=True) == address
    assert parse_address(format_address(*address), bind=True) == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be HOST:PORT, but the port is missing"),
        ("localhost", "must be HOST:PORT, but the port is missing"),
        ("9090", "must be HOST:PORT, but the port is missing"),
        ("localhost:", "must be HOST:PORT, but the port is missing"),
        ("[::1]", "must be HOST:PORT, but the port is missing"),
        ("::1", "must have an IPv6 address in brackets, as in [::1]:9090"),
        ("::1:9090", "must have an IPv6 address in brackets, as in [::1]:9090"),
        ("a:b:80", "must have an IPv6 address in brackets, as in [::1]:9090"),
        ("localhost:0", "must have a port from 1 to 65535"),
        ("localhost:65536", "must have a port from 1 to 65535"),
        ("localhost:999999", "must have a port from 1 to 65535"),
        ("localhost:http", "must have a port from 1 to 65535"),
        ("localhost:-1", "must have a port from 1 to 65535"),
        ("localhost:٣", "must have a port from 1 to 65535"),
        (":9090", "must have a host before the port"),
        ("*:80", "must have a host name or an IP address before the port"),
        ("a b:80", "must have a host name or an IP address before the port"),
        ("-a:80", "must have a host name or an IP address before the port"),
        ("café:80", "must have a host name or an IP address before the port"),
        ("999.0.0.1:80", "must have a valid IPv4 address"),
        ("127.1:80", "must have a valid IPv4 address"),
        ("[]:80", "must have a valid IPv6 address in the brackets"),
        ("[127.0.0.1]:80", "must have a valid IPv6 address in the brackets"),
        ("[::1:80", "must have a valid IPv6 address in the brackets"),
        ("[::1%a b]:80", "must have a valid IPv6 address in the brackets"),
        ("[localhost]:80", "must have a valid IPv6 address in the brackets"),
        ("http://localhost:80", "must be HOST:PORT, not a URL or a path"),
        ("unix:/run/x.sock", "Unix sockets are not supported yet"),
    ],
)
def test_what_is_no_address(text: str, message: str) -> None:
    assert error_of(parse_address, text) == f'{message} (got "{text}")'


def test_to_bind_port_0_is_allowed_and_said_so() -> None:
    expected = 'must have a port from 0 to 65535 (got "x:70000")'
    assert error_of(parse_address, "x:70000", bind=True) == expected


@given(st.text())
def test_any_text_is_an_address_or_one_printable_line(text: str) -> None:
    try:
        address = parse_address(text, bind=True)
    except ValueError as error:
        told = str(error)
        assert told.isprintable()
    else:
        assert parse_address(format_address(*address), bind=True) == address

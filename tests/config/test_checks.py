"""What each key of active checks takes, and what is said of all else."""

from __future__ import annotations

import json

import pytest

from tests.config.conftest import LoadText, ProblemsOf

STATUSES = 'must be HTTP statuses such as "200" or "200-299,304"'
BYTES = "must be a string of characters up to \\u00ff, each of which is a byte"
HTTP = ("method", "path", "host", "status", "body")


def check(key: str, value: str) -> str:
    kind = "http" if key in HTTP else "send-expect" if key in ("send", "expect") else "tcp"
    line = "" if key == "type" else f"type = '{kind}'"
    text = "[pools.web]\nbackends = [{ address = 'a:1' }]\n[pools.web.check]\n"
    return f"{text}{line}\n{key} = {value}\n"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("type", kind) for kind in ("tcp", "http", "send-expect")),
        *((key, "1ms") for key in ("interval", "fast_interval", "timeout")),
        *((key, number) for key in ("fall", "rise") for number in (1, 100)),
        ("port", 0),
        ("port", 65535),
        ("method", "OPTIONS"),
        ("path", "/"),
        ("path", "/health?a=b#~"),
        ("host", ""),
        ("host", "example.org:80"),
        ("status", "100"),
        ("status", "200-299,304,500-500"),
        ("body", ""),
        ("body", "(?i)ok|\u00e9"),
        ("send", ""),
        ("send", "\x00\u00ff\r\n"),
        ("expect", "\\+PONG"),
    ],
)
def test_right_values(load_text: LoadText, key: str, value: str | int) -> None:
    read = load_text(check(key, json.dumps(value))).config.pools["web"].check
    assert read is not None
    assert read.model_dump()[key] == value


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        *(
            (key, '"0s"', "must be longer than 0s")
            for key in ("interval", "fast_interval", "timeout")
        ),
        *((key, "0", "must be at least 1") for key in ("fall", "rise")),
        *((key, "101", "must be at most 100") for key in ("fall", "rise")),
        ("port", "-1", "must be at least 0"),
        ("port", "65536", "must be at most 65535"),
        ("port", '"80"', "must be a whole number"),
        *(
            ("method", value, 'must be a method such as "GET" or "HEAD"')
            for value in ('"get"', '""', '"GET /"', "5")
        ),
        *(
            (key, value, "must be printable ASCII without spaces")
            for key in ("path", "host")
            for value in ('"/a b"', '"/\\r\\n"', '"/é"', '"/a\\n"', "5")
        ),
        ("path", '"health"', "must begin with a slash"),
        ("path", '""', "must begin with a slash"),
        *(
            ("status", value, STATUSES)
            for value in ('""', '"20"', '"099"', '"2000"', '"300-200"', '"200,"', '"2xx"', "200")
        ),
        ("status", '"200\\n"', STATUSES),
        *((key, '"Ā"', BYTES) for key in ("body", "send", "expect")),
        *((key, "5", BYTES) for key in ("body", "send", "expect")),
        (
            "body",
            '"("',
            "must be a regular expression: missing ), unterminated subpattern at position 0",
        ),
        ("expect", '"*"', "must be a regular expression: nothing to repeat at position 0"),
        (
            "expect",
            '"[[a]"',
            "must be a regular expression: Possible nested set at position 1",
        ),
        (
            "expect",
            '"a{99999999999}"',
            "must be a regular expression: the repetition number is too large",
        ),
    ],
)
def test_wrong_values(problems_of: ProblemsOf, key: str, value: str, message: str) -> None:
    assert problems_of(check(key, value)) == [
        f"tcplb.toml:5: pools.web.check.{key}: {message} (got {value})"
    ]


def test_a_type_that_is_none(problems_of: ProblemsOf) -> None:
    assert problems_of(check("type", "'https'")) == [
        "tcplb.toml:5: pools.web.check.type: must be one of tcp, http, send-expect"
        ' (got "https"; did you mean "http"?)'
    ]


def test_an_empty_table_turns_checks_on(load_text: LoadText) -> None:
    text = "[pools.web]\nbackends = [{ address = 'a:1' }]\n"
    assert load_text(text).config.pools["web"].check is None
    on = load_text(f"{text}[pools.web.check]\n").config.pools["web"].check
    assert on is not None
    assert (on.type, on.interval, on.fast_interval, on.fall, on.rise) == ("tcp", 2.0, 0.5, 3, 2)

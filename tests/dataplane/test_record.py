"""The exact text of the access log."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tcplb.dataplane.record import to_json, to_tcplog
from tcplb.dataplane.termination import Termination
from tests.records import RECORD

NOBODY = replace(
    RECORD,
    client_host="2001:db8::7",
    backend=None,
    key=b"",
    classified=None,
    connected=None,
    bytes_up=0,
    bytes_down=0,
    attempts=0,
    active=RECORD.active._replace(backend=0),
    termination=Termination.CLIENT_RESET_EARLY,
)


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_tcplog() -> None:
    assert to_tcplog(RECORD) == (
        "127.0.0.1:51234 [22/Nov/2026:15:03:07.125] web web/b1 0/1/57 212 -- 4/3/2/1/0 0/0 78"
    )


def test_tcplog_of_a_retried_session() -> None:
    line = to_tcplog(replace(RECORD, attempts=4, termination=Termination.BACKEND_RESET))
    assert line.split(" ", 4)[4] == "0/1/57 212 SD 4/3/2/1/+3 0/0 78"


def test_tcplog_of_a_session_that_waited_in_the_queue() -> None:
    record = replace(RECORD, queued=0.0135, queue_ahead=7, connected=100.0185)
    assert to_tcplog(record).split(" ", 4)[4] == "13/2/57 212 -- 4/3/2/1/0 0/7 78"
    facts = json.loads(to_json(record))
    assert (facts["queue_ms"], facts["queue_ahead"], facts["connect_ms"]) == (13, 7, 2)


def test_tcplog_of_an_ipv6_client_without_a_backend() -> None:
    assert to_tcplog(NOBODY) == (
        "[2001:db8::7]:51234 [22/Nov/2026:15:03:07.125] web web/<NOSRV> -1/-1/57 0 CR "
        "4/3/2/0/0 0/0 0"
    )


def test_json() -> None:
    assert to_json(RECORD) == (
        '{"time": "2026-11-22T14:03:07.125Z", "client": "127.0.0.1:51234", "listener": "web", '
        '"pool": "web", "backend": "b1", "key": "/x", "classify_ms": 2, "queue_ms": 0, '
        '"queue_ahead": 0, "connect_ms": 1, "total_ms": 57, "bytes_up": 78, "bytes_down": 212, '
        '"attempts": 1, '
        '"active": {"process": 4, "listener": 3, "pool": 2, "backend": 1}, "termination": "--", '
        '"reason": "both sides closed"}'
    )


def test_json_of_an_ipv6_client_without_a_backend() -> None:
    facts = json.loads(to_json(NOBODY))
    assert facts["client"] == "[2001:db8::7]:51234"
    assert facts["backend"] is None
    assert (facts["queue_ms"], facts["connect_ms"], facts["classify_ms"]) == (-1, -1, -1)
    assert facts["reason"] == Termination.CLIENT_RESET_EARLY.reason


@pytest.mark.parametrize(
    ("key", "written"),
    [
        (b"/a\nb\r\x00\x1b[31m", r"/a\nb\r\u0000\u001b[31m"),
        (b'/"quoted"\\', r"/\"quoted\"\\"),
        (b"/\xff\xfe", r"/\\xff\\xfe"),
        ("/ü\u009b\u2028".encode(), r"/\u00fc\u009b\u2028"),
    ],
)
def test_what_a_client_controls_is_escaped(key: bytes, written: str) -> None:
    line = to_json(replace(RECORD, key=key))
    assert f'"key": "{written}"' in line
    assert line.isascii()
    assert line.isprintable()


def test_both_forms_are_one_line() -> None:
    for record in (RECORD, NOBODY, replace(RECORD, key=b"\n\r\x0b\x0c\x85")):
        assert len(to_tcplog(record).splitlines()) == 1
        assert len(to_json(record).splitlines()) == 1


@pytest.mark.parametrize("fraction", [0.0, 0.0009, 0.5, 0.9999])
def test_milliseconds_have_three_digits(fraction: float) -> None:
    record = replace(RECORD, accepted_at=1795356187 + fraction)
    digits = f"{int(fraction * 1000):03d}"
    assert f":07.{digits}]" in to_tcplog(record)
    assert f":07.{digits}Z" in to_json(record)

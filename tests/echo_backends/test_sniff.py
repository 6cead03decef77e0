from __future__ import annotations

import pytest

from echo_backends.sniff import MAX_FIRST_LINE, Speech, sniff


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.0\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\n",
        b"GET http://any.name/x HTTP/1.1\r\n",
        b"CONNECT any.name:443 HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"REPORT /dav HTTP/1.1\r\n",
    ],
)
def test_a_request_line_is_http_and_undecided_until_it_ends(line: bytes) -> None:
    assert sniff(line) is Speech.HTTP
    assert {sniff(line[:length]) for length in range(len(line))} == {Speech.UNDECIDED}


def test_what_follows_the_first_line_does_not_count() -> None:
    assert sniff(b"GET / HTTP/1.1\r\nnot a header\r\n\x00") is Speech.HTTP


@pytest.mark.parametrize(
    "data",
    [
        b"h",
        b"hello",
        b"\x16\x03\x01",
        b"get / HTTP/1.1\r\n",
        b"GETS",
        b"GET lost\r\n",
        b"GET /\r\n",
        b"GET / HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"DESCRIBE rtsp://a/b RTSP/1.0\r\n",
        b"GET / HTTP/1.1\n",
        b"\r\nhello",
    ],
)
def test_everything_else_is_raw(data: bytes) -> None:
    assert sniff(data) is Speech.RAW


def test_a_first_line_is_waited_for_up_to_a_limit() -> None:
    line = b"GET /" + b"x" * MAX_FIRST_LINE
    assert sniff(line[: MAX_FIRST_LINE - 1]) is Speech.UNDECIDED
    assert sniff(line[:MAX_FIRST_LINE]) is Speech.RAW
    assert sniff(b"\n" * MAX_FIRST_LINE) is Speech.RAW

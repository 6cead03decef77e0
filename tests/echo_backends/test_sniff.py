from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo_backends.naming import QUESTION
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
        b"\0hello",
        b"\0tcplb who?\r\n",
        b"\0tcplb who??\n",
        b"\n\0tcplb who?\n",
    ],
)
def test_everything_else_is_raw(data: bytes) -> None:
    assert sniff(data) is Speech.RAW


@pytest.mark.parametrize("after", [b"", b"x", b"GET / HTTP/1.1\r\n", QUESTION])
def test_the_question_who_serves_counts_whatever_follows(after: bytes) -> None:
    assert sniff(QUESTION + after) is Speech.NAMING


def test_the_question_is_undecided_until_it_ends() -> None:
    assert {sniff(QUESTION[:length]) for length in range(len(QUESTION))} == {Speech.UNDECIDED}


@given(st.binary(max_size=30))
def test_only_the_question_is_the_question(data: bytes) -> None:
    assert (sniff(data) is Speech.NAMING) is data.startswith(QUESTION)


@given(st.integers(0, len(QUESTION) - 1), st.integers(0, 255), st.binary(max_size=5))
def test_one_wrong_byte_and_it_is_raw_at_once(place: int, byte: int, after: bytes) -> None:
    if byte == QUESTION[place] or place == 0:
        return
    assert sniff(QUESTION[:place] + bytes([byte]) + after) is Speech.RAW


def test_a_first_line_is_waited_for_up_to_a_limit() -> None:
    line = b"GET /" + b"x" * MAX_FIRST_LINE
    assert sniff(line[: MAX_FIRST_LINE - 1]) is Speech.UNDECIDED
    assert sniff(line[:MAX_FIRST_LINE]) is Speech.RAW
    assert sniff(b"\n" * MAX_FIRST_LINE) is Speech.RAW

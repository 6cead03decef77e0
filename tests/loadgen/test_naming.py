from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from echo_backends import naming as backend
from tcplb.loadgen.naming import MAX_ANSWER, QUESTION, parse_name

LONGEST = f"[{'ffff:' * 7}ffff]:65535"


def test_both_sides_speak_of_the_same_question() -> None:
    assert QUESTION == backend.QUESTION


@given(st.ip_addresses(), st.integers(1, 65535))
def test_what_a_backend_answers_is_its_name(address: object, port: int) -> None:
    host = f"[{address}]" if ":" in str(address) else str(address)
    assert parse_name(backend.answer(f"{host}:{port}")) == f"{host}:{port}"


def test_the_longest_address_fits() -> None:
    assert parse_name(backend.answer(LONGEST)) == LONGEST
    assert len(backend.answer(LONGEST)) <= MAX_ANSWER


def test_no_name_is_longer_than_an_answer_may_be() -> None:
    room = MAX_ANSWER - len(backend.answer(""))
    assert parse_name(backend.answer("x" * room)) == "x" * room
    assert parse_name(backend.answer("x" * (room + 1))) is None


# What begins as an answer may be one, and is seen to below.
@given(st.binary(max_size=40).filter(lambda data: not data.startswith(b"\0tcplb I am ")))
@example(QUESTION)
def test_everything_else_is_nobody(data: bytes) -> None:
    assert parse_name(data) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\0tcplb I am \n",
        b"\0tcplb I am a",
        b"\0tcplb I am a\r\n",
        b"\0tcplb I am a\n\n",
        b"\0tcplb I am a b\n",
        b"\0tcplb I am a\x1b[31m\n",
        b"\0tcplb I am \xe4\n",
        b"x\0tcplb I am a\n",
        b"\0tcplb I am a\nhello",
    ],
)
def test_an_answer_is_one_whole_line_of_plain_text(data: bytes) -> None:
    assert parse_name(b"\0tcplb I am a\n") == "a"
    assert parse_name(data) is None

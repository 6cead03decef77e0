from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from echo_backends.naming import QUESTION, answer, may_become_question


def test_an_answer_is_a_line_with_the_address() -> None:
    assert answer("127.0.0.1:8081") == b"\0tcplb I am 127.0.0.1:8081\n"
    assert answer("[::1]:8081") == b"\0tcplb I am [::1]:8081\n"


def test_every_beginning_may_become_the_question_but_the_question_is_it() -> None:
    assert all(may_become_question(QUESTION[:length]) for length in range(len(QUESTION)))
    assert not may_become_question(QUESTION)
    assert not may_become_question(QUESTION + b"x")


@given(st.binary(max_size=20))
def test_nothing_else_may(data: bytes) -> None:
    possible = [QUESTION[:length] for length in range(len(QUESTION))]
    assert may_become_question(data) is (data in possible)

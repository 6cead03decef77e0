from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.control.admin import client_stream
from tcplb.control.admin.client_stream import LARGEST_MESSAGE, Message, MessageParser

LINE = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)
MESSAGES = st.lists(st.tuples(LINE, st.none() | LINE), max_size=5)
ENDS = st.sampled_from(["\n", "\r\n"])


def written(messages: list[tuple[str, str | None]], end: str) -> bytes:
    lines = []
    for data, number in messages:
        lines += [] if number is None else [f"id: {number}"]
        lines += [f"data: {data}", "", ": a comment", ""]
    return "".join(line + end for line in lines).encode()


def expected(messages: list[tuple[str, str | None]]) -> list[Message]:
    last, found = None, []
    for data, number in messages:
        last = last if number is None else number
        found.append(Message(data, last))
    return found


@given(MESSAGES, ENDS, st.data())
def test_messages_are_the_same_wherever_pieces_end(
    messages: list[tuple[str, str | None]], end: str, data: st.DataObject
) -> None:
    whole = written(messages, end)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    parser = MessageParser()
    pieces = [whole[first:last] for first, last in pairwise([0, *cuts, len(whole)])]
    found = [message for piece in pieces for message in parser.feed(piece)]
    assert found == expected(messages)


def test_byte_by_byte() -> None:
    whole = "id: 7\ndata: {é}\n\n".encode()
    parser = MessageParser()
    found = [each for place in range(len(whole)) for each in parser.feed(whole[place : place + 1])]
    assert found == [Message("{é}", "7")]


def test_a_message_of_several_lines_and_fields_that_are_not_known() -> None:
    text = b"event: x\nretry: 5\ndata:a\ndata:  b\ndata\n\n"
    assert list(MessageParser().feed(text)) == [Message("a\n b\n", None)]


def test_what_is_not_complete_is_not_told() -> None:
    assert list(MessageParser().feed(b"data: 1\n")) == []


@pytest.mark.parametrize("line", [b"x", b"data: x\n"])
def test_a_message_without_an_end_is_not_collected_for_ever(line: bytes) -> None:
    parser = MessageParser()
    with pytest.raises(ValueError, match="larger than"):
        list(parser.feed(line * (LARGEST_MESSAGE // len(line.strip()) + 1)))


def test_many_messages_may_be_more_than_one() -> None:
    size = client_stream.LARGEST_MESSAGE // 2
    parser = MessageParser()
    message = b"data: " + b"x" * size + b"\n\n"
    assert sum(len(list(parser.feed(message))) for _ in range(4)) == 4


def test_bytes_that_are_no_text_are_an_error() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        list(MessageParser().feed(b"data: \xff\n\n"))

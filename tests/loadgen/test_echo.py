from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tcplb.loadgen.client import FailedError
from tcplb.loadgen.connection import READ_SIZE
from tcplb.loadgen.echo import CLOSED_BEFORE, CLOSED_WITHIN, WRONG_BYTES, Back
from tcplb.loadgen.job import Mode
from tcplb.loadgen.naming import MAX_ANSWER, QUESTION
from tests.loadgen.stage import Stage, cut

NAME = b"\0tcplb I am 127.0.0.1:8081\n"

quick = settings(max_examples=200, deadline=None)
fewer = settings(max_examples=40, deadline=None)
places = st.lists(st.integers(0, 1000), max_size=20)
payloads = st.binary(min_size=1, max_size=60)
names = st.sampled_from((NAME, QUESTION))


def fed(back: Back, chunks: list[bytes]) -> Back:
    for chunk in chunks:
        back.feed(chunk)
    return back


# -- what comes back, in any pieces -----------------------------------------------------------


@given(payloads, places)
@quick
def test_the_payload_is_accepted_in_any_pieces(payload: bytes, where: list[int]) -> None:
    back = Back(payload, after_name=False)
    *first, last = cut(payload, where)
    assert not fed(back, first).complete
    assert fed(back, [last]).complete
    assert back.name is None


@given(payloads, names, places)
@quick
def test_after_a_name_or_the_question_too(payload: bytes, line: bytes, where: list[int]) -> None:
    back = Back(payload, after_name=True)
    *first, last = cut(line + payload, where)
    assert not fed(back, first).complete
    assert fed(back, [last]).complete
    assert back.name == ("127.0.0.1:8081" if line == NAME else None)


@given(payloads, st.binary(min_size=1, max_size=70), places)
@quick
def test_nothing_else_is_accepted(payload: bytes, other: bytes, where: list[int]) -> None:
    assume(other != payload)
    back = Back(payload, after_name=False)
    if payload.startswith(other):
        assert not fed(back, cut(other, where)).complete
    else:
        with pytest.raises(FailedError, match=WRONG_BYTES):
            fed(back, cut(other, where))


@given(payloads, names, places, st.integers(0), st.integers(1, 255))
@quick
def test_a_changed_byte_is_noticed(
    payload: bytes, line: bytes, where: list[int], at: int, change: int
) -> None:
    wrong = bytearray(payload)
    wrong[at % len(payload)] ^= change
    with pytest.raises(FailedError, match=WRONG_BYTES):
        fed(Back(payload, after_name=True), cut(line + bytes(wrong), where))


@given(payloads, names, places, st.integers(0))
@quick
def test_a_missing_byte_is_noticed(payload: bytes, line: bytes, where: list[int], at: int) -> None:
    at %= len(payload)
    back = Back(payload, after_name=True)
    with pytest.raises(FailedError):
        fed(back, [*cut(line + payload[:at] + payload[at + 1 :], where), b""])
    assert not back.complete


@given(payloads, names, places, st.integers(0), st.binary(min_size=1, max_size=1))
@quick
def test_a_byte_more_is_noticed(
    payload: bytes, line: bytes, where: list[int], at: int, more: bytes
) -> None:
    at %= len(payload) + 1
    with pytest.raises(FailedError, match=WRONG_BYTES):
        fed(Back(payload, after_name=True), cut(line + payload[:at] + more + payload[at:], where))


@given(st.binary(min_size=1, max_size=200), payloads, places)
@quick
def test_what_is_neither_a_name_nor_the_question_is_wrong(
    line: bytes, payload: bytes, where: list[int]
) -> None:
    assume(not line.startswith((b"\0tcplb I am", QUESTION)))
    with pytest.raises(FailedError, match=WRONG_BYTES):
        fed(Back(payload, after_name=True), cut(line + b"\n" + payload + b"x" * MAX_ANSWER, where))


def test_a_line_without_an_end_is_not_waited_for() -> None:
    back = fed(Back(b"x", after_name=True), [b"\0tcplb I am ", b"a" * (MAX_ANSWER - 13)])
    assert not back.complete
    with pytest.raises(FailedError, match=WRONG_BYTES):
        back.feed(b"a")


@pytest.mark.parametrize(
    ("before", "after_name", "cause"),
    [
        (b"", False, CLOSED_BEFORE),
        (b"", True, CLOSED_BEFORE),
        (b"ab", False, CLOSED_WITHIN),
        (NAME[:5], True, CLOSED_WITHIN),
        (NAME, True, CLOSED_WITHIN),
        (QUESTION, True, CLOSED_WITHIN),
        (NAME + b"ab", True, CLOSED_WITHIN),
    ],
)
def test_the_end_comes_before_the_answer_or_within_it(
    before: bytes, after_name: bool, cause: str
) -> None:
    back = Back(b"abc", after_name=after_name)
    if before:
        back.feed(before)
    with pytest.raises(FailedError) as raised:
        back.feed(b"")
    assert str(raised.value) == cause


# -- exchanges on a connection ----------------------------------------------------------------


def echo_stage(requests: int = 1, payload: int = 100, rate: float | None = None) -> Stage:
    stage = Stage(Mode.ECHO, path=None, requests=requests, payload=payload, rate=rate).begin()
    stage.accept()
    return stage


def question_and_payload(stage: Stage, size: int = 100) -> bytes:
    assert stage.heard(len(QUESTION)) == QUESTION
    return stage.heard(size)


@given(places, places)
@fewer
def test_a_backend_that_names_itself_is_counted_with_its_requests(
    first: list[int], second: list[int]
) -> None:
    with echo_stage(requests=2) as stage:
        stage.say_in(cut(NAME + question_and_payload(stage), first))
        stage.say_in(cut(stage.heard(100), second))
        assert stage.over
        tally = stage.tally
    assert (tally.requests, tally.errors, tally.connections, tally.open) == (2, 0, 1, 0)
    served = tally.backends["127.0.0.1:8081"]
    assert (served.requests, served.connections) == (2, 1)
    assert tally.bytes_sent == len(QUESTION) + 200
    assert tally.bytes_received == len(NAME) + 200
    assert (tally.latency.count, tally.first_byte.count, tally.connect.count) == (2, 2, 1)


@given(places)
@fewer
def test_another_echo_server_sends_the_question_back(where: list[int]) -> None:
    with echo_stage() as stage:
        stage.say_in(cut(QUESTION + question_and_payload(stage), where))
        assert stage.over
        tally = stage.tally
    assert (tally.requests, tally.errors, tally.backends) == (1, 0, {})
    assert tally.bytes_sent == tally.bytes_received == len(QUESTION) + 100


def test_payloads_of_two_exchanges_are_not_the_same() -> None:
    with echo_stage(requests=2) as stage:
        first = question_and_payload(stage)
        stage.say(NAME + first)
        assert stage.heard(100) != first


def test_a_wrong_byte_fails_the_exchange_once_and_ends_the_connection() -> None:
    with echo_stage(requests=2) as stage:
        payload = question_and_payload(stage)
        stage.say(NAME + payload[:-1] + bytes([payload[-1] ^ 1]))
        tally = stage.tally
        assert (tally.requests, dict(tally.failures), tally.open) == (0, {WRONG_BYTES: 1}, 0)
        assert stage.end.recv(1) == b""


def test_the_answer_of_another_exchange_is_wrong() -> None:
    with echo_stage(requests=2) as stage:
        first = question_and_payload(stage)
        stage.say(NAME + first)
        stage.heard(100)
        stage.say(first)
        assert (stage.tally.requests, dict(stage.tally.failures)) == (1, {WRONG_BYTES: 1})


# -- events that come together ----------------------------------------------------------------


def test_an_answer_and_the_end_in_one_event_are_a_good_answer() -> None:
    with echo_stage() as stage:
        stage.end.sendall(NAME + question_and_payload(stage))
        stage.fin()
        stage.wait()
        assert stage.over
        assert (stage.tally.requests, stage.tally.errors) == (1, 0)


def test_after_an_end_that_came_with_the_answer_the_next_is_on_another_connection() -> None:
    with echo_stage(requests=2) as stage:
        stage.end.sendall(NAME + question_and_payload(stage))
        stage.fin()
        stage.wait()
        stage.accept()
        stage.say(NAME + question_and_payload(stage))
        assert stage.over
        tally = stage.tally
        assert (tally.requests, tally.errors, tally.connections) == (2, 0, 2)


def test_it_is_replaced_at_once_in_an_open_loop() -> None:
    with echo_stage(requests=2, rate=100.0) as stage:
        stage.turn()
        stage.end.sendall(NAME + question_and_payload(stage))
        stage.fin()
        stage.wait()
        stage.accept()
        assert stage.loop.free


def test_half_an_answer_and_the_end_in_one_event() -> None:
    with echo_stage() as stage:
        stage.end.sendall(NAME + question_and_payload(stage)[:50])
        stage.fin()
        stage.settle()
        assert (stage.tally.requests, dict(stage.tally.failures)) == (0, {CLOSED_WITHIN: 1})


def test_more_bytes_with_the_answer_are_wrong() -> None:
    with echo_stage() as stage:
        stage.say(NAME + question_and_payload(stage) + b"x")
        assert dict(stage.tally.failures) == {WRONG_BYTES: 1}


def test_a_reset_is_a_failure_by_that_name() -> None:
    with echo_stage() as stage:
        stage.reset()
        stage.settle()
        assert dict(stage.tally.failures) == {"connection reset": 1}


def test_bytes_that_come_between_an_event_and_the_read_are_counted_once() -> None:
    with echo_stage(requests=2) as stage:
        payload = question_and_payload(stage)
        stage.end.sendall(NAME)
        events = stage.events()
        stage.end.sendall(payload)
        stage.tell(events)
        second = stage.heard(100)
        stage.tell(stage.more_events())  # of what has been read already
        stage.say(second)
        assert stage.over
        assert (stage.tally.requests, stage.tally.errors) == (2, 0)
        assert stage.tally.bytes_received == len(NAME) + 200


@pytest.mark.parametrize("size", [READ_SIZE - 1, READ_SIZE, READ_SIZE + 1, 3 * READ_SIZE])
def test_more_than_one_read_takes_in_one_event(size: int) -> None:
    with echo_stage(payload=size) as stage:
        stage.say(stage.heard_while_sent(len(QUESTION) + size))
        assert stage.over
        assert (stage.tally.requests, stage.tally.errors) == (1, 0)


def test_an_echo_that_keeps_no_more_than_a_little_gets_all_and_sends_all() -> None:
    """It stops reading while nobody takes what it has sent: the client must do both at once."""
    size = 8 << 20
    with echo_stage(payload=size) as stage:
        stage.end.setblocking(False)
        kept, echoed = b"", 0
        while not stage.over:
            with suppress(BlockingIOError):
                kept = kept or stage.end.recv(100_000)
                sent = stage.end.send(kept)
                kept, echoed = kept[sent:], echoed + sent
            stage.tell(stage.more_events())
            assert not stage.tally.errors
        assert echoed == size + len(QUESTION)
        assert stage.tally.bytes_sent == stage.tally.bytes_received == echoed


def test_a_target_that_reads_all_before_it_answers_gets_all() -> None:
    size = 16 << 20
    with echo_stage(payload=size) as stage:
        everything = stage.heard_while_sent(len(QUESTION) + size)
        assert everything.startswith(QUESTION)
        stage.say(everything)
        assert stage.over
        assert (stage.tally.requests, stage.tally.errors) == (1, 0)


def test_as_long_as_bytes_move_the_time_out_begins_anew() -> None:
    with echo_stage(payload=16 << 20) as stage:
        before, sent = stage.client.since, stage.tally.bytes_sent
        stage.heard_while_sent(12 << 20)
        assert stage.tally.bytes_sent > sent
        assert stage.client.since > before
        before = stage.client.since
        stage.say(NAME)
        assert stage.client.since > before

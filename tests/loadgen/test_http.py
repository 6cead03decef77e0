from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.loadgen.connection import READ_SIZE
from tcplb.loadgen.http import MAX_HEAD, MAX_KNOWN_HEADS
from tcplb.loadgen.job import Mode
from tcplb.loadgen.tally import Served, Tally
from tests.loadgen.stage import Stage, cut

NAMED = b"HTTP/1.1 200 OK\r\nX-Backend: 127.0.0.1:8081\r\nContent-Length: 5\r\n\r\nhello"
BAD = "not an HTTP/1.1 answer"
MORE = "more bytes than the answer has"
BEFORE = "closed before the answer"
WITHIN = "closed in the middle of the answer"
OTHER_BODY = "the body that came back is not the one that was sent"

fewer = settings(max_examples=12, deadline=None)
places = st.lists(st.integers(0, 1000), max_size=20)


def answer(
    *headers: bytes, status: bytes = b"200 OK", body: bytes = b"", version: int = 1
) -> bytes:
    return b"\r\n".join((b"HTTP/1.%d %b" % (version, status), *headers, b"", body))


def length(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))


TILL_CLOSE = answer(body=b"hello")
CHUNKED = answer(b"Transfer-Encoding: chunked", body=chunked(b"hel", b"lo", b"x" * 300))

GOOD = {
    "length": NAMED,
    "length 0": answer(b"Content-Length: 0"),
    "long": answer(length(b"x" * 5000), body=b"x" * 5000),
    "204": answer(status=b"204 No Content"),
    "304": answer(b"Content-Length: 5", status=b"304 Not Modified"),
    "chunked": CHUNKED,
    "chunked trailer": CHUNKED[:-2] + b"X-Trailer: 1\r\n\r\n",
    "kept 1.0": answer(b"Connection: keep-alive", length(b"abc"), body=b"abc", version=0),
    "kept 1.0, length 0": answer(b"Connection: keep-alive", b"Content-Length: 0", version=0),
    "redirect": answer(b"Content-Length: 0", status=b"302 Found"),
    "interim": answer(status=b"103 Early Hints") + NAMED,
    "two interims": answer(status=b"100 Continue") * 2 + CHUNKED,
}
"""After these the connection goes on."""

LAST = {
    "close": answer(b"Connection: close", length(b"abc"), body=b"abc"),
    "Close among others": answer(b"Connection: x, Close", length(b"abc"), body=b"abc"),
    "close, length 0": answer(b"connection: CLOSE", b"content-length: 0"),
    "close, 204": answer(b"Connection: x, close", status=b"204 No Content"),
    "close, chunked": answer(
        b"Connection: close", b"Transfer-Encoding: chunked", body=chunked(b"hello")
    ),
    "1.0": answer(length(b"abc"), body=b"abc", version=0),
}
"""After these the client ends the connection."""


def played(*answers: list[bytes], requests: int = 0, fin: bool = False, **changes: Any) -> Tally:
    """The tally of a client that gets these answers on one connection, each in these pieces."""
    with Stage(requests=requests or len(answers), **changes).begin() as stage:
        stage.accept()
        for pieces in answers:
            stage.head()
            stage.say_in(pieces)
        if fin:
            stage.fin()
            stage.settle()
        assert not stage.waits or not fin
        return stage.tally


def counts(tally: Tally) -> tuple[Any, ...]:
    """All that does not depend on how long things took."""
    return (
        *(tally.requests, tally.connections, tally.bytes_sent, tally.bytes_received),
        *(dict(tally.failures), dict(tally.statuses), tally.backends),
        *(tally.latency.count, tally.first_byte.count, tally.connect.count),
    )


# -- requests ---------------------------------------------------------------------------------


def test_a_request_names_the_path_and_the_host_and_ends_with_its_head() -> None:
    with Stage().begin() as stage:
        stage.accept()
        host = b"127.0.0.1:%d" % stage.loop.address[1]
        expected = b"GET / HTTP/1.1\r\nHost: %b\r\nUser-Agent: tcplb-bench\r\n\r\n" % host
        assert stage.head() == expected
        stage.say(NAMED)
        assert stage.over
        assert stage.tally.bytes_sent == len(expected)


def test_a_connection_has_one_of_several_paths_and_the_next_one_another() -> None:
    with Stage(requests=3, paths=2).begin() as stage:
        seen: list[tuple[bytes, bool]] = []
        for last in (False, True, True):
            if not seen or seen[-1][1]:
                stage.accept()
            seen.append((stage.head().split()[1], last))
            stage.say(LAST["close"] if last else NAMED)
        assert seen == [(b"/0", False), (b"/0", True), (b"/1", True)]


def test_a_request_that_the_kernel_does_not_take_at_once() -> None:
    with Stage(path="/" + "x" * (12 << 20), requests=3).begin() as stage:
        stage.accept()
        size = len(stage.heard_while_sent(12 << 20)) + len(stage.head())
        stage.say(NAMED)
        for _ in range(2):
            stage.heard_while_sent(size)
            stage.say(NAMED)
        assert stage.over
        tally = stage.tally
    assert (tally.requests, tally.errors, tally.bytes_sent) == (3, 0, 3 * size)
    assert tally.bytes_received == 3 * len(NAMED)


# -- good answers -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", GOOD)
@given(where=places, later=places)
@fewer
def test_it_is_one_answer_in_any_pieces_and_the_connection_goes_on(
    kind: str, where: list[int], later: list[int]
) -> None:
    good = GOOD[kind]
    whole = played([NAMED], [good], [good], [NAMED])
    assert (whole.requests, whole.errors, whole.connections, whole.open) == (4, 0, 1, 0)
    assert whole.bytes_received == 2 * len(NAMED) + 2 * len(good)
    in_pieces = played([NAMED], cut(good, where), cut(good, later), cut(NAMED, where))
    assert counts(in_pieces) == counts(whole)


@pytest.mark.parametrize("kind", LAST)
@given(where=places)
@fewer
def test_after_a_last_answer_the_next_request_goes_by_another_connection(
    kind: str, where: list[int]
) -> None:
    with Stage(requests=3).begin() as stage:
        for _ in range(3):
            stage.accept()
            stage.head()
            stage.say_in(cut(LAST[kind], where))
        assert stage.over
        tally = stage.tally
    assert (tally.requests, tally.errors, tally.connections, tally.open) == (3, 0, 3, 0)
    assert tally.bytes_received == 3 * len(LAST[kind])


@given(places)
@fewer
def test_a_body_without_a_length_ends_with_the_connection(where: list[int]) -> None:
    with Stage(requests=2).begin() as stage:
        for _ in range(2):
            stage.accept()
            stage.head()
            stage.say_in(cut(TILL_CLOSE, where))
            assert stage.waits
            stage.fin()
            stage.wait()
        assert stage.over
        assert (stage.tally.requests, stage.tally.errors) == (2, 0)
        assert stage.tally.bytes_received == 2 * len(TILL_CLOSE)


@given(places)
@fewer
def test_the_quick_path_and_the_general_one_count_the_same(where: list[int]) -> None:
    quick = played(*[[NAMED]] * 5)
    general = played([NAMED], *[cut(NAMED, [*where, 20])] * 4)
    assert counts(quick) == counts(general)
    assert (quick.requests, quick.bytes_received) == (5, 5 * len(NAMED))
    assert quick.backends == {"127.0.0.1:8081": Served(5, 1)}
    assert dict(quick.statuses) == {200: 5}


@pytest.mark.parametrize("kind", ["length 0", "204"])
def test_a_known_head_is_no_answer_before_it_has_ended(kind: str) -> None:
    good = GOOD[kind]
    tally = played([good], [good], [good[:-4], good[-4:]], [good[:-1], good[-1:]])
    assert (tally.requests, tally.errors) == (4, 0)
    assert tally.bytes_received == 4 * len(good)


def test_a_known_interim_answer_is_no_answer() -> None:
    interim = answer(status=b"103 Early Hints")
    tally = played([interim, NAMED], [interim, NAMED], [interim, NAMED], requests=3)
    assert (tally.requests, dict(tally.statuses)) == (3, {200: 3})


@pytest.mark.parametrize("size", [READ_SIZE - 100, READ_SIZE, 5 * READ_SIZE])
def test_a_body_of_several_reads(size: int) -> None:
    long = answer(length(b"x" * size), body=b"x" * size)
    tally = played([NAMED], [long], [long], [NAMED])
    assert (tally.requests, tally.errors) == (4, 0)
    assert tally.bytes_received == 2 * len(NAMED) + 2 * len(long)


def test_many_different_heads_are_all_counted() -> None:
    number = 2 * MAX_KNOWN_HEADS + 50
    different = [
        [answer(b"X-Number: %d" % (at // 2), b"X-Backend: b", b"Content-Length: 0")]
        for at in range(number)
    ]
    tally = played(*different, *different[-4:])
    assert (tally.requests, tally.errors, tally.connections) == (number + 4, 0, 1)
    assert tally.bytes_received == sum(len(one) for (one,) in (*different, *different[-4:]))
    assert tally.backends == {"b": Served(number + 4, 1)}
    assert tally.latency.count == number + 4


# -- who answers ------------------------------------------------------------------------------


def test_another_header_names_the_backend_in_any_case() -> None:
    served_by = answer(b"x-SERVED-by: one", b"X-Backend: two", b"Content-Length: 0")
    tally = played([served_by], [served_by], backend_header="X-Served-By")
    assert tally.backends == {"one": Served(2, 1)}


def test_requests_are_of_who_answers_them_and_the_connection_of_who_did_first() -> None:
    one, two = (answer(b"X-Backend: %b" % name, b"Content-Length: 0") for name in (b"a", b"b"))
    tally = played([one], [two], [one], [two], [two])
    assert tally.backends == {"a": Served(2, 1), "b": Served(3, 0)}


def test_nobody_is_named() -> None:
    tally = played(*[[GOOD["length 0"]]] * 3)
    assert (tally.requests, tally.backends) == (3, {})


def test_a_connection_that_begins_with_an_error_is_counted_once_it_is_known_whose() -> None:
    error = answer(b"Content-Length: 0", status=b"503 Service Unavailable")
    with Stage(requests=4).begin() as stage:
        stage.accept()
        for good_or_bad in (NAMED, LAST["close"]):
            stage.head()
            stage.say(good_or_bad)
        stage.accept()
        for good_or_bad in (error, NAMED):
            stage.head()
            stage.say(good_or_bad)
        assert stage.over
        assert stage.tally.backends == {"127.0.0.1:8081": Served(2, 2)}


# -- failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 404, 500, 503])
@given(places)
@fewer
def test_an_error_by_its_status_is_a_failure_and_the_connection_goes_on(
    status: int, where: list[int]
) -> None:
    error = answer(length(b"sorry"), status=b"%d No" % status, body=b"sorry")
    tally = played([NAMED], cut(error, where), [error], [NAMED])
    assert dict(tally.failures) == {f"HTTP status {status}": 2}
    assert dict(tally.statuses) == {200: 2, status: 2}
    assert (tally.requests, tally.latency.count, tally.connections) == (2, 2, 1)
    assert tally.first_byte.count == 4
    assert tally.bytes_received == 2 * len(NAMED) + 2 * len(error)


WRONG = {
    "garbage": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", BAD),
    "a request": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", BAD),
    "no status": (b"HTTP/1.1 \r\n\r\n", BAD),
    "two lengths": (answer(b"Content-Length: 1", b"Content-Length: 2", body=b"x"), BAD),
    "a length that is none": (answer(b"Content-Length: -1"), BAD),
    "another protocol": (
        answer(b"Upgrade: x", b"Connection: Upgrade", status=b"101 Switching Protocols"),
        BAD,
    ),
    "a chunk that is none": (answer(b"Transfer-Encoding: chunked", body=b"xyz\r\n"), BAD),
    "a head too long": (answer(b"X-Long: " + b"x" * 2 * MAX_HEAD), BAD),
    "a head without an end": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * MAX_HEAD, BAD),
    "a byte more": (NAMED + b"x", MORE),
    "two answers": (NAMED + NAMED, MORE),
    "more after no body": (GOOD["204"] + b"x", MORE),
    "two chunked answers": (CHUNKED + CHUNKED, MORE),
    "more after the chunks": (CHUNKED + b"garbage", MORE),
    "more after the last chunks": (LAST["close, chunked"] + b"x", MORE),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("before", [0, 2], ids=["at first", "later"])
def test_what_is_no_answer_fails_the_request_and_ends_the_connection(
    kind: str, before: int
) -> None:
    wrong, cause = WRONG[kind]
    tally = played(*[[NAMED]] * before, [wrong], requests=before + 2)
    assert (tally.requests, dict(tally.failures), tally.open) == (before, {cause: 1}, 0)
    assert tally.latency.count == before


@pytest.mark.parametrize("kind", [*GOOD, *LAST])
@pytest.mark.parametrize("before", [0, 1], ids=["at first", "later"])
@given(places, st.integers(0))
@fewer
def test_the_end_within_an_answer(kind: str, before: int, where: list[int], at: int) -> None:
    whole = {**GOOD, **LAST}[kind]
    part = whole[: at % len(whole)]
    boundaries = {0, *(size for size in range(len(whole)) if _interims(whole[:size]))}
    tally = played(*[[NAMED]] * before, cut(part, where) if part else [], fin=True)
    cause = BEFORE if len(part) in boundaries else WITHIN
    assert (tally.requests, dict(tally.failures), tally.open) == (before, {cause: 1}, 0)
    assert tally.bytes_received == before * len(NAMED) + len(part)


def _interims(data: bytes) -> bool:
    """Whether this is a number of whole interim answers, after which none has begun."""
    return data.startswith(b"HTTP/1.1 1") and data.endswith(b"\r\n\r\n") and b" 200" not in data


# -- events that come together ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["length", "length 0", "chunked"])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_after_an_end_that_came_with_the_answer_the_next_is_on_another_connection(
    kind: str, before: int
) -> None:
    with Stage(requests=before + 2).begin() as stage:
        stage.accept()
        for _ in range(before):
            stage.head()
            stage.say(GOOD[kind])
        stage.head()
        stage.end.sendall(GOOD[kind])
        stage.fin()
        stage.wait()
        stage.accept()
        stage.head()
        stage.say(GOOD[kind])
        assert stage.over
        tally = stage.tally
    assert (tally.requests, tally.errors, tally.connections) == (before + 2, 0, 2)


@pytest.mark.parametrize("mode", [Mode.REQUEST, Mode.BULK])
def test_an_answer_that_is_there_at_once_does_not_keep_others_waiting(mode: Mode) -> None:
    """As when the server runs as soon as the request is sent, and the client only after it."""
    with Stage(mode, rate=100.0).begin() as stage:
        stage.accept()
        stage.end.sendall(NAMED)
        stage.turn()
        assert stage.waits
        stage.wait()
        assert stage.over
        assert (stage.tally.requests, stage.tally.errors) == (1, 0)


@pytest.mark.parametrize("before", [1, 2])
def test_bytes_that_come_between_an_event_and_the_read_are_counted_once(before: int) -> None:
    with Stage(requests=before + 2).begin() as stage:
        stage.accept()
        for _ in range(before):
            stage.head()
            stage.say(NAMED)
        stage.head()
        stage.end.sendall(NAMED[:10])
        events = stage.events()
        stage.end.sendall(NAMED[10:])
        stage.tell(events)
        stage.head()
        stage.tell(stage.more_events())  # of what has been read already
        stage.say(NAMED)
        assert stage.over
        assert (stage.tally.requests, stage.tally.errors) == (before + 2, 0)
        assert stage.tally.bytes_received == (before + 2) * len(NAMED)


def test_an_answer_that_comes_before_the_client_waits_is_no_answer_to_it() -> None:
    """Its bytes are there at once, but a server that speaks first is not an HTTP server."""
    with Stage(requests=2).begin() as stage:
        stage.accept()
        stage.say(b"220 mail.example ESMTP\r\n")
        stage.fin()
        stage.settle()
        assert dict(stage.tally.failures) == {WITHIN: 1}


# -- POST -------------------------------------------------------------------------------------


def post_stage(mode: Mode, size: int) -> Stage:
    stage = Stage(mode, payload=size).begin()
    stage.accept()
    return stage


@given(places)
@fewer
def test_a_body_that_comes_back_is_good_in_any_pieces(where: list[int]) -> None:
    with post_stage(Mode.ECHO, 300) as stage:
        head = stage.head()
        assert head.startswith(b"POST / HTTP/1.1\r\n")
        assert b"\r\nContent-Length: 300\r\n" in head
        body = stage.heard(300)
        stage.say_in(cut(answer(length(body), body=body), where))
        assert stage.over
        assert (stage.tally.requests, stage.tally.errors) == (1, 0)
        assert stage.tally.bytes_sent == len(head) + 300


@given(places)
@fewer
def test_a_body_in_chunks_is_put_together(where: list[int]) -> None:
    with post_stage(Mode.ECHO, 300) as stage:
        stage.head()
        body = stage.heard(300)
        parts = chunked(*cut(body, where))
        stage.say(answer(b"Transfer-Encoding: chunked", body=parts))
        assert (stage.tally.requests, stage.tally.errors) == (1, 0)


@pytest.mark.parametrize(
    "change", [lambda body: body[:-1], lambda body: body[:-1] + bytes([body[-1] ^ 1])]
)
def test_another_body_is_a_failure(change: Any) -> None:
    with post_stage(Mode.ECHO, 300) as stage:
        stage.head()
        body = change(stage.heard(300))
        stage.say(answer(length(body), body=body))
        assert (stage.tally.requests, dict(stage.tally.failures)) == (0, {OTHER_BODY: 1})


def test_an_upload_does_not_care_what_the_answer_says() -> None:
    with post_stage(Mode.BULK, 300) as stage:
        stage.head()
        stage.heard(300)
        stage.say(NAMED)
        assert (stage.tally.requests, stage.tally.errors) == (1, 0)


def test_an_answer_that_comes_while_the_body_is_sent_is_good_after_it() -> None:
    size = 16 << 20
    with post_stage(Mode.BULK, size) as stage:
        stage.head()
        stage.end.sendall(NAMED)
        stage.wait()
        assert stage.tally.bytes_sent < size
        stage.heard_while_sent(size)
        assert stage.over
        assert (stage.tally.requests, stage.tally.errors) == (1, 0)


def test_a_download_is_a_request_without_a_body() -> None:
    with post_stage(Mode.BULK, 0) as stage:
        assert stage.head().startswith(b"GET / ")
        stage.say(NAMED)
        assert (stage.tally.requests, stage.tally.bytes_received) == (1, len(NAMED))

from __future__ import annotations

import pytest

from echo_backends.http import HttpResponder, Reply

NAME = "127.0.0.1:8081"
BODY = b"Received request on server running on port 8081\n"
OK = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 48\r\n"
    b"X-Backend: 127.0.0.1:8081\r\nConnection: keep-alive\r\n\r\n"
) + BODY


def answer(data: bytes) -> list[Reply]:
    return HttpResponder(8081, NAME).feed(data)


def only(data: bytes) -> Reply:
    (reply,) = answer(data)
    return reply


def test_a_request_is_answered_with_the_port() -> None:
    reply = only(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (reply.data, reply.last, reply.interim) == (OK, False, False)


def test_pipelined_requests_are_answered_in_order() -> None:
    replies = answer(
        b"GET / HTTP/1.1\r\n\r\n"
        b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
        b"HEAD / HTTP/1.1\r\n\r\n"
    )
    assert [reply.data[-3:] for reply in replies] == [b"81\n", b"abc", b"\n\r\n"]


@pytest.mark.parametrize(
    ("request_bytes", "body"),
    [
        (b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"PUT /echo?x=1 HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b""),
        (
            b"POST http://any.name/echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: x\r\n\r\n",
            b"hello",
        ),
        (b"GET /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", BODY),
        (b"POST /other HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", BODY),
        (b"GET http://any.name HTTP/1.1\r\n\r\n", BODY),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", BODY),
        (b"POST http:///echo HTTP/1.1\r\nContent-Length: 0\r\n\r\n", BODY),
        (b"\r\nDELETE /x HTTP/1.1\r\n\r\n", BODY),
    ],
)
def test_every_request_whole_and_byte_by_byte(request_bytes: bytes, body: bytes) -> None:
    whole = only(request_bytes)
    assert whole.data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"Content-Length: {len(body)}\r\n".encode() in whole.data
    assert whole.data.endswith(b"\r\n\r\n" + body)
    responder = HttpResponder(8081, NAME)
    *early, last = [responder.feed(request_bytes[i : i + 1]) for i in range(len(request_bytes))]
    assert not any(early)
    assert last == [whole]


def test_head_has_the_length_but_no_body() -> None:
    assert only(b"HEAD / HTTP/1.1\r\n\r\n").data == OK.removesuffix(BODY)


@pytest.mark.parametrize(
    ("head", "keep"),
    [
        (b"HTTP/1.1\r\n", True),
        (b"HTTP/1.1\r\nConnection: close\r\n", False),
        (b"HTTP/1.0\r\n", False),
        (b"HTTP/1.0\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_whether_the_connection_is_kept(head: bytes, keep: bool) -> None:
    reply = only(b"GET / " + head + b"\r\n")
    assert reply.last is not keep
    assert (b"Connection: keep-alive\r\n" in reply.data) is keep
    assert (b"Connection: close\r\n" in reply.data) is not keep


def test_nothing_is_answered_after_a_close() -> None:
    request = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    assert only(request + b"GET / HTTP/1.1\r\n\r\n").last


def test_the_body_is_asked_for() -> None:
    responder = HttpResponder(8081, NAME)
    head = b"PUT /echo HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n"
    (go_on,) = responder.feed(head)
    assert go_on.interim
    assert go_on.data == b"HTTP/1.1 100 Continue\r\n\r\n"
    (reply,) = responder.feed(b"ok")
    assert reply.data.endswith(b"\r\n\r\nok")
    # It is not asked for again by the request after it.
    assert not responder.feed(b"PUT /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\n")


def test_an_http_1_0_client_expects_no_interim_answer() -> None:
    head = b"PUT /echo HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    assert not answer(head)


def test_connect_is_not_for_this_server() -> None:
    reply = only(b"CONNECT any.name:443 HTTP/1.1\r\n\r\n\x16\x03\x01")
    assert reply.data.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
    assert b"\r\nAllow: GET, " in reply.data
    assert reply.last


def test_an_upgrade_is_declined_by_an_ordinary_answer() -> None:
    reply = only(b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert reply.data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert reply.last


@pytest.mark.parametrize(
    "bad",
    [
        b"nonsense\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
    ],
)
def test_a_malformed_request_ends_the_connection_after_the_answers_before_it(bad: bytes) -> None:
    first, second = answer(b"GET / HTTP/1.1\r\n\r\n" + bad)
    assert first.data == OK
    assert second.data.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert second.last


def test_a_request_cut_short_by_the_end_of_file_is_malformed() -> None:
    responder = HttpResponder(8081, NAME)
    assert not responder.feed(b"GET / HTTP/1.1\r\nHost")
    (reply,) = responder.feed(b"")
    assert reply.data.startswith(b"HTTP/1.1 400 ")


def test_an_end_of_file_between_requests_needs_no_answer() -> None:
    responder = HttpResponder(8081, NAME)
    assert responder.feed(b"GET / HTTP/1.1\r\n\r\n")
    assert not responder.feed(b"")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"HEAD / HTTP/1.1\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi",
        b"GET / HTTP/1.0\r\n\r\n",
        b"CONNECT any.name:443 HTTP/1.1\r\n\r\n",
        b"nonsense\r\n",
    ],
)
@pytest.mark.parametrize("name", [NAME, "[::1]:9000"])
def test_every_answer_names_its_server_once(request_bytes: bytes, name: str) -> None:
    (reply,) = HttpResponder(8081, name).feed(request_bytes)
    head = reply.data.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert [line for line in head if line.lower().startswith(b"x-backend")] == [
        f"X-Backend: {name}".encode()
    ]

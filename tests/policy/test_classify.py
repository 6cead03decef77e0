from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tcplb.policy.addresses import client_key
from tcplb.policy.classify import (
    MAX_FIRST_LINE,
    NEED_MORE,
    NOT_HTTP,
    RequestTarget,
    Verdict,
    classify,
    origin_form,
)

METHODS = [
    *("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"),
    *("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK"),
    *("SEARCH", "REPORT", "PURGE", "M-SEARCH"),
]

REQUESTS = [
    (b"GET / HTTP/1.1\r\n", b"/"),
    (b"GET /x HTTP/1.1\r\n", b"/x"),
    (b"GET /x HTTP/1.0\r\n", b"/x"),
    (b"GET /a/b.html?q=1&r=2 HTTP/1.1\r\n", b"/a/b.html?q=1&r=2"),
    (b"GET /?u=http://other.name/y HTTP/1.1\r\n", b"/?u=http://other.name/y"),
    (b"GET /%7Euser/%20 HTTP/1.1\r\n", b"/%7Euser/%20"),
    (b"GET //x HTTP/1.1\r\n", b"//x"),
    # Absolute-form, as `curl -x` sends it, is reduced to what curl sends without -x.
    (b"GET http://any.name/x HTTP/1.1\r\n", b"/x"),
    (b"GET http://any.name/x?q=1 HTTP/1.1\r\n", b"/x?q=1"),
    (b"GET http://any.name HTTP/1.1\r\n", b"/"),
    (b"GET http://any.name/ HTTP/1.1\r\n", b"/"),
    (b"GET http://any.name?q HTTP/1.1\r\n", b"/?q"),
    (b"GET http://any.name:8080/x HTTP/1.1\r\n", b"/x"),
    (b"GET http://[::1]:9090/x HTTP/1.1\r\n", b"/x"),
    (b"GET HTTP://ANY.NAME/x HTTP/1.1\r\n", b"/x"),
    (b"GET https://any.name/x HTTP/1.0\r\n", b"/x"),
    (b"CONNECT any.name:443 HTTP/1.1\r\n", b"any.name:443"),
    (b"OPTIONS * HTTP/1.1\r\n", b"*"),
    # RFC 9112 §2.2: a bare LF ends a line, and an empty line may come before it.
    (b"GET /x HTTP/1.1\n", b"/x"),
    (b"\r\nGET /x HTTP/1.1\r\n", b"/x"),
    (b"\r\n\r\nGET /x HTTP/1.1\r\n", b"/x"),
    (b"\nGET /x HTTP/1.1\n", b"/x"),
]

TRAILING = [
    b"Host: any.name\r\n\r\n",
    b"\r\n",
    b"\r\nbody\nGET /second HTTP/1.1\r\n",
    b"not a header at all",
    b"\x16\x03\x01\x00\xff\n\x00",
    b"GET /second HTTP/1.1\r\n\r\n",
    b"x" * 100_000,
]

TLS_HELLO = bytes.fromhex("16030100c8010000c40303")
POSTGRESQL_STARTUP = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"

# What is not HTTP, and the number of bytes that are enough to know it.
NOT_REQUESTS = [
    (TLS_HELLO, 1),
    (POSTGRESQL_STARTUP, 1),
    (b"*1\r\n$4\r\nPING\r\n", 1),  # Redis, RESP
    (b"PING\r\n", 2),  # Redis, inline
    (b"SET key value\r\n", 4),
    (b"SSH-2.0-OpenSSH_9.2\r\n", 2),
    (b"get / HTTP/1.1\r\n", 1),
    (b"Get / HTTP/1.1\r\n", 2),
    (b"EHLO any.name\r\n", 1),
    (b"HTTP/1.1 200 OK\r\n", 2),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 16),
    (b"DESCRIBE rtsp://any.name/x RTSP/1.0\r\n", 37),
    (b"GET /x\r\n", 8),  # HTTP/0.9
    (b"GET key\r\n", 8),  # Redis, inline
    (b"GET / HTTP/1.2\r\n", 14),
    (b"GET / HTTP/3.0\r\n", 14),
    (b"GET / HTTP/0.9\r\n", 16),
    (b"GET / HTTP/1.1 \r\n", 15),
    (b"GET / HTTP/1.1\r\r\n", 16),
    (b"GET /a b HTTP/1.1\r\n", 8),
    (b"GET /\x00 HTTP/1.1\r\n", 6),
    (b" GET / HTTP/1.1\r\n", 1),
    (b"\xff\xfe\xfd", 1),
    (b"\x00", 1),
]


def request_line(length: int) -> bytes:
    """Return a request line of `length` bytes without its line end."""
    start, end = b"GET /", b" HTTP/1.1"
    return start + b"x" * (length - len(start) - len(end)) + end


# -- requests ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "target"), REQUESTS)
def test_a_whole_request_line_gives_its_target(data: bytes, target: bytes) -> None:
    assert classify(data) == RequestTarget(target)


@pytest.mark.parametrize(("data", "target"), REQUESTS)
def test_byte_by_byte_every_proper_prefix_needs_more(data: bytes, target: bytes) -> None:
    for length in range(len(data)):
        assert classify(data[:length]) is NEED_MORE
    assert classify(data) == RequestTarget(target)


@pytest.mark.parametrize("trailing", TRAILING, ids=lambda trailing: repr(trailing[:20]))
@pytest.mark.parametrize(("data", "target"), REQUESTS)
def test_what_follows_the_first_line_is_ignored(
    data: bytes, target: bytes, trailing: bytes
) -> None:
    assert classify(data + trailing) == RequestTarget(target)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_known(method: str) -> None:
    assert classify(f"{method} /x HTTP/1.1\r\n".encode()) == RequestTarget(b"/x")


def test_no_byte_needs_more() -> None:
    assert classify(b"") is NEED_MORE


def test_both_curls_agree() -> None:
    direct = b"GET /x HTTP/1.1\r\nHost: localhost:9090\r\n\r\n"
    by_proxy = b"GET http://any.name/x HTTP/1.1\r\nHost: any.name\r\n\r\n"
    assert classify(direct) == classify(by_proxy) == RequestTarget(b"/x")


@given(
    method=st.sampled_from(METHODS),
    path=st.text("abcXYZ019-._~!$&'()*+,;=:@%/?", max_size=60),
    authority=st.sampled_from([b"", b"http://any.name", b"http://10.0.0.1:81", b"HTTPS://u:p@h"]),
    version=st.sampled_from([b"1.0", b"1.1"]),
    end=st.sampled_from([b"\n", b"\r\n"]),
    trailing=st.binary(max_size=40),
)
@settings(max_examples=100, deadline=None)
def test_any_request_line_gives_its_path_in_every_chunking(
    *, method: str, path: str, authority: bytes, version: bytes, end: bytes, trailing: bytes
) -> None:
    target = b"/" + path.encode()
    line = b"%b %b%b HTTP/%b%b" % (method.encode(), authority, target, version, end)
    for length in range(len(line)):
        assert classify(line[:length]) is NEED_MORE
    assert classify(line + trailing) == RequestTarget(target)


# -- everything else --------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "enough"), NOT_REQUESTS)
def test_what_is_not_http_is_known_as_soon_as_its_bytes_say_so(data: bytes, enough: int) -> None:
    verdicts = [classify(data[:length]) for length in range(len(data) + 1)]
    assert verdicts == [NEED_MORE] * enough + [NOT_HTTP] * (len(data) + 1 - enough)


@pytest.mark.parametrize(("data", "_enough"), NOT_REQUESTS)
def test_what_is_not_http_stays_so_whatever_follows(data: bytes, _enough: int) -> None:
    for trailing in (b"\r\n", b"\r\n\r\n", b"GET / HTTP/1.1\r\n"):
        assert classify(data + trailing) is NOT_HTTP


ALMOST_HTTP = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(b"GET", b"CONNECT", b"PRI", b"OPTIONS", b" ", b"/", b"*", b"http://", b"a:1"),
                *(b" HTTP/1.1", b" HTTP/2.0", b" RTSP/1.0", b"\r", b"\n", b"\r\n", b"Upgrade: x"),
                *(b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: h\r\n"),
            ]
        ),
        st.binary(max_size=4),
    ),
    max_size=12,
).map(b"".join)


@given(st.binary(max_size=200) | ALMOST_HTTP)
@settings(max_examples=300, deadline=None)
@example(b"CONNECT h:1 HTTP/1.1\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
@example(b"http://")
def test_arbitrary_bytes_never_raise_and_a_verdict_is_final(data: bytes) -> None:
    final: RequestTarget | Verdict = NEED_MORE
    for length in range(len(data) + 1):
        verdict = classify(data[:length])
        assert isinstance(verdict, RequestTarget) or verdict in {NEED_MORE, NOT_HTTP}
        assert final in {NEED_MORE, verdict}
        final = verdict


# -- the bound --------------------------------------------------------------------------------


def test_the_bound_is_8_kib() -> None:
    assert MAX_FIRST_LINE == 8 * 1024


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_of_exactly_the_bound_without_its_line_end_is_taken(end: bytes) -> None:
    line = request_line(MAX_FIRST_LINE)
    target = b"/" + b"x" * (MAX_FIRST_LINE - 14)
    assert classify(line) is NEED_MORE
    assert classify(line + end[:-1]) is NEED_MORE
    assert classify(line + end) == RequestTarget(target)
    assert classify(line + end + b"Host: h\r\n\r\n") == RequestTarget(target)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_one_byte_over_the_bound_is_refused_at_once(end: bytes) -> None:
    line = request_line(MAX_FIRST_LINE + 1)
    assert classify(line) is NOT_HTTP
    assert classify(line + end) is NOT_HTTP


def test_a_start_that_never_ends_its_line_is_refused_past_the_bound() -> None:
    assert classify(b"GET /" + b"x" * (MAX_FIRST_LINE - 5)) is NEED_MORE
    assert classify(b"GET /" + b"x" * 1_000_000) is NOT_HTTP


def test_empty_lines_for_ever_are_refused_past_the_bound() -> None:
    assert classify(b"\r\n" * 100) is NEED_MORE
    assert classify(b"\r\n" * MAX_FIRST_LINE) is NOT_HTTP


@pytest.mark.parametrize("length", [MAX_FIRST_LINE - 2, MAX_FIRST_LINE - 1, MAX_FIRST_LINE])
def test_near_the_bound_the_verdict_does_not_hang_on_how_the_bytes_came(length: int) -> None:
    # What is a request when it comes at once must not be refused halfway when it comes in pieces.
    whole = b"\r\n" + request_line(length) + b"\n"
    assert isinstance(classify(whole), RequestTarget)
    for pieces in range(MAX_FIRST_LINE - 3, len(whole)):
        assert classify(whole[:pieces]) is NEED_MORE


# -- origin-form ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", [b"", b"/", b"/x?u=http://h/y", b"*", b"h:443", b"://x", b"/a://b", b"-://x"]
)
def test_a_target_without_a_scheme_is_left_alone(target: bytes) -> None:
    assert origin_form(target) == target


@given(st.binary(max_size=40))
def test_origin_form_of_an_origin_form_is_itself(rest: bytes) -> None:
    assert origin_form(b"/" + rest) == b"/" + rest


# -- the client's address ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("127.0.0.1", b"127.0.0.1"),
        ("::1", b"::1"),
        ("2001:db8::7", b"2001:db8::7"),
        ("::ffff:192.0.2.7", b"192.0.2.7"),
        ("::FFFF:C000:0207", b"192.0.2.7"),
        ("fe80::1%eth0", b"fe80::1"),
        ("fe80::1%2", b"fe80::1"),
        ("2001:DB8::ABCD", b"2001:db8::abcd"),
        ("2001:0db8:0000:0000:0000:0000:0000:abcd", b"2001:db8::abcd"),
        ("", b""),
        ("a.name", b"a.name"),
    ],
)
def test_a_client_has_one_key_however_its_address_is_written(host: str, key: bytes) -> None:
    assert client_key(host) == key


@given(st.ip_addresses(v=4))
def test_ipv4_is_the_same_client_through_an_ipv6_socket(address: object) -> None:
    assert client_key(f"::ffff:{address}") == client_key(str(address)) == str(address).encode()


@given(st.ip_addresses(v=6))
def test_spelling_and_zone_of_ipv6_do_not_matter(address: object) -> None:
    keys = {client_key(spelling) for spelling in (f"{address}".upper(), f"{address}%eth0")}
    assert keys == {client_key(str(address))}


@given(st.lists(st.ip_addresses(v=4), min_size=2, max_size=20, unique=True))
def test_each_client_has_a_key_of_its_own(addresses: list[object]) -> None:
    assert len({client_key(str(address)) for address in addresses}) == len(addresses)


def test_the_hosts_of_one_ipv6_network_have_keys_of_their_own() -> None:
    assert len({client_key(f"2001:db8::{host:x}") for host in range(1000)}) == 1000

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tcplb.loadgen.errors import TargetError
from tcplb.loadgen.target import (
    Endpoint,
    first_that_accepts,
    on_loopback,
    parse_target,
    resolve,
)


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which 127.0.0.1 accepts connections, and no other address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


# -- reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("127.0.0.1:9090", Endpoint("127.0.0.1", 9090)),
        ("[::1]:9090", Endpoint("::1", 9090)),
        ("[0:0::1]:9090", Endpoint("::1", 9090)),
        ("localhost:9090", Endpoint("localhost", 9090)),
        ("my-host.example.:1", Endpoint("my-host.example.", 1)),
        (":9090", Endpoint("127.0.0.1", 9090)),
        ("9090", Endpoint("127.0.0.1", 9090)),
        ("65535", Endpoint("127.0.0.1", 65535)),
        ("http://localhost", Endpoint("localhost", 80, "/")),
        ("http://localhost/", Endpoint("localhost", 80, "/")),
        ("HTTP://localhost:8080", Endpoint("localhost", 8080, "/")),
        ("http://127.0.0.1:8080/a/b?c=d&e=%20", Endpoint("127.0.0.1", 8080, "/a/b?c=d&e=%20")),
        ("http://localhost?x=1", Endpoint("localhost", 80, "/?x=1")),
        ("http://localhost/@:8/", Endpoint("localhost", 80, "/@:8/")),
        ("http://localhost/?u=http://x//", Endpoint("localhost", 80, "/?u=http://x//")),
        ("http://localhost//double", Endpoint("localhost", 80, "//double")),
        ("http://[::1]", Endpoint("::1", 80, "/")),
        ("http://[::1]:81/x", Endpoint("::1", 81, "/x")),
    ],
)
def test_what_is_a_target(text: str, endpoint: Endpoint) -> None:
    assert parse_target(text) == endpoint


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no port"),
        ("localhost", "has no port"),
        ("127.0.0.1", "has no port"),
        ("[::1]", "has no port"),
        ("localhost:", "no port after the colon"),
        ("http://localhost:/", "no port after the colon"),
        ("localhost:http", "no valid port"),
        ("localhost:0", "no valid port"),
        ("0", "no valid port"),
        ("localhost:65536", "no valid port"),
        ("999999999999999999999", "no valid port"),
        ("localhost:-1", "no valid port"),
        ("http://localhost:99999/", "no valid port"),
        ("::1:9090", "write IPv6 in brackets"),
        ("http://::1/", "write IPv6 in brackets"),
        ("a:b:80", "write IPv6 in brackets"),
        ("[::1:9090", "no port"),
        ("[::g]:9090", "no valid IP address"),
        ("[]:9090", "no valid IP address"),
        ("[fe80::1%eth0]:9090", "no valid IP address"),
        ("[127.0.0.1]:9090", "no valid IP address"),
        ("[::1]9090", "something between ] and the port"),
        ("127.0.0.256:9090", "no valid IP address"),
        ("127.1:9090", "no valid IP address"),
        ("-host:9090", "no valid host name"),
        ("a/b:9090", "does not begin with http://"),
        ("127.0.0.1:9090/path", "does not begin with http://"),
        ("localhost:9090?x", "does not begin with http://"),
        ("a" * 300 + ":9090", "no valid host name"),
        ("https://localhost/", "TLS, which is not spoken"),
        ("HTTPS://localhost/", "TLS, which is not spoken"),
        ("ftp://localhost/", "the only scheme is http://"),
        ("http://", "no host"),
        ("http:///x", "no host"),
        ("http://:80/", "no host"),
        ("http://9090/", "a number for a host"),
        ("http://a:b@localhost/", "user or password"),
        ("user@localhost:9090", "user or password"),
        ("http://localhost/#top", "a fragment"),
        ("http://localhost/a b", "has a space in it"),
        (" localhost:9090", "has a space in it"),
        ("http://localhost/a\r\nX: y", "has a control character"),
        ("localhost:9090\n", "has a control character"),
        ("http://localhost/\x7f", "has a control character"),
        ("http://localhost/é", "not ASCII"),
        ("http://bücher.example/", "not ASCII"),
        ("localhost:９０", "not ASCII"),
        ("localhost\ud800:90", "not ASCII"),
    ],
)
def test_what_is_none_is_refused_in_one_line_that_quotes_it(text: str, why: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(text)
    message = str(caught.value)
    assert why in message
    assert message.startswith(repr(text))
    assert message.isprintable()


anything = st.text() | st.from_regex(
    r"(http://)?[a-z0-9.:\[\]@-]{0,12}(:[0-9]{0,6})?[/?#a-z]{0,4}", fullmatch=True
)


@given(anything)
@example("http://[")
@example("http://]:1/")
def test_whatever_a_user_writes_is_read_or_refused(text: str) -> None:
    try:
        endpoint = parse_target(text)
    except TargetError:
        return
    assert endpoint.host
    assert 1 <= endpoint.port <= 65535
    assert endpoint.path is None or endpoint.path.startswith("/")
    # What goes on the wire can neither end its line nor begin another.
    assert all("!" <= character <= "~" for character in endpoint.host_header)
    assert all("!" <= character <= "~" for character in endpoint.path or "")


@given(anything.filter(lambda text: ":" not in text and not text.isdigit()))
def test_whatever_has_no_port_is_refused_in_words(text: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(text)
    assert str(caught.value).startswith(repr(text))
    assert str(caught.value).isprintable()


@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_address_is_read(address: object, port: int) -> None:
    host = f"[{address}]" if ":" in str(address) else str(address)
    assert parse_target(f"{host}:{port}") == Endpoint(str(address), port)
    assert parse_target(f"http://{host}:{port}/x") == Endpoint(str(address), port, "/x")


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("http://localhost/", "localhost"),
        ("http://localhost:80/", "localhost"),
        ("http://localhost:8080/", "localhost:8080"),
        ("http://[::1]/", "[::1]"),
        ("http://[::1]:8080/", "[::1]:8080"),
    ],
)
def test_the_host_header(text: str, header: str) -> None:
    assert parse_target(text).host_header == header


# -- looking up -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::ffff:127.9.9.9"],
)
def test_this_machines_loopback(address: str) -> None:
    assert on_loopback(address)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "126.0.0.1", "128.0.0.1", "0.0.0.0", "::", "::2", "::ffff:10.0.0.1", "fe80::1"],
)
def test_what_is_not_this_machines_loopback(address: str) -> None:
    assert not on_loopback(address)


def test_a_raw_target() -> None:
    # Nobody listens there, which is found out by the run.
    target = resolve("127.0.0.3:9", allow_remote=False)
    assert (target.text, target.address, target.port) == ("127.0.0.3:9", "127.0.0.3", 9)
    assert not target.http
    assert target.host == ""


def test_an_http_target() -> None:
    target = resolve("http://[::1]:9/x?y", allow_remote=False)
    assert (target.address, target.port, target.path) == ("::1", 9, "/x?y")
    assert target.host == "[::1]:9"
    assert target.http


def test_a_name_is_looked_up(port: int) -> None:
    target = resolve(f"http://localhost:{port}/", allow_remote=False)
    assert target.address == "127.0.0.1"
    assert target.host == f"localhost:{port}"


@pytest.mark.parametrize("text", ["127.0.0.1:9", ":9", "9", "[::1]:9", "[::ffff:127.0.0.1]:9"])
def test_the_loopback_needs_no_permission(text: str) -> None:
    assert on_loopback(resolve(text, allow_remote=False).address)


@pytest.mark.parametrize(
    "text", ["10.0.0.1:80", "[2001:db8::1]:80", "http://192.0.2.1/", "[::ffff:10.0.0.1]:80"]
)
def test_every_other_address_needs_permission(text: str) -> None:
    with pytest.raises(TargetError) as caught:
        resolve(text, allow_remote=False)
    assert str(caught.value) == (
        f"{text} is not on this machine's loopback; --allow-remote allows that: "
        "only load what is yours"
    )
    assert resolve(text, allow_remote=True).port == 80


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(TargetError, match=r"^'nobody\.invalid:80' cannot be found: \w"):
        resolve("nobody.invalid:80", allow_remote=False)


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "xn--" + "a" * 70])
def test_a_name_that_cannot_be(host: str) -> None:
    with pytest.raises(TargetError, match="cannot be found"):
        resolve(f"{host}:80", allow_remote=True)


def test_a_single_address_is_not_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        resolve(f"127.0.0.1:{listener.getsockname()[1]}", allow_remote=False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_of_several_addresses_the_first_that_accepts(port: int) -> None:
    assert first_that_accepts(["127.0.0.2", "127.0.0.1"], port) == "127.0.0.1"
    assert first_that_accepts(["127.0.0.1", "127.0.0.2"], port) == "127.0.0.1"


def test_or_else_the_first(port: int) -> None:
    assert first_that_accepts(["127.0.0.3", "127.0.0.2"], port) == "127.0.0.3"
    assert first_that_accepts(["127.0.0.3"], port) == "127.0.0.3"

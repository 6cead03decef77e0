from __future__ import annotations

import pytest

from tcplb.control.admin.client_address import parse_admin_address


@pytest.mark.parametrize(
    ("text", "url", "shown", "private"),
    [
        ("127.0.0.1:9091", "http://127.0.0.1:9091", "127.0.0.1:9091", True),
        ("localhost:9091", "http://localhost:9091", "localhost:9091", True),
        ("[::1]:9091", "http://[::1]:9091", "[::1]:9091", True),
        (":9091", "http://127.0.0.1:9091", "127.0.0.1:9091", False),
        ("0.0.0.0:9091", "http://127.0.0.1:9091", "127.0.0.1:9091", False),
        ("[::]:9091", "http://[::1]:9091", "[::1]:9091", False),
        ("lb.example:9091", "http://lb.example:9091", "lb.example:9091", False),
        ("http://127.0.0.1:9091/", "http://127.0.0.1:9091", "127.0.0.1:9091", True),
        ("http://lb.example", "http://lb.example:80", "lb.example:80", False),
        ("https://lb.example", "https://lb.example:443", "https://lb.example:443", True),
        ("https://[2001:db8::1]:1", "https://[2001:db8::1]:1", "https://[2001:db8::1]:1", True),
    ],
)
def test_an_address_over_tcp(text: str, url: str, shown: str, *, private: bool) -> None:
    address = parse_admin_address(text)
    assert (address.url, address.text, address.path) == (url, shown, None)
    assert address.private is private


def test_a_unix_socket() -> None:
    address = parse_admin_address("unix:/run/x.sock")
    assert (address.path, address.text, address.tls) == ("/run/x.sock", "unix:/run/x.sock", False)
    assert address.binds == ("unix:/run/x.sock",)
    assert address.private


def test_with_tls_an_address_means_https() -> None:
    assert parse_admin_address("lb.example:9091", tls=True).url == "https://lb.example:9091"
    assert not parse_admin_address("http://lb.example:9091", tls=True).tls


def test_a_server_of_this_machine_may_be_bound_by_another_name() -> None:
    assert parse_admin_address("localhost:9091").binds == (
        *("localhost:9091", "127.0.0.1:9091", "[::1]:9091"),
        *(":9091", "0.0.0.0:9091", "[::]:9091"),
    )
    assert parse_admin_address("lb.example:9091").binds == ("lb.example:9091",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the port is missing"),
        ("none", "no admin port"),
        ("localhost", "the port is missing"),
        ("127.0.0.1:0", "a port from 1 to 65535"),
        ("127.0.0.1:99999", "must have a port"),
        ("unix:relative", "an absolute path"),
        ("ftp://lb.example", "must be HOST:PORT, http"),
        ("http://", "must be HOST:PORT, http"),
        ("http://lb.example:port", "is not a URL"),
        ("http://lb.example/api", "must end with the host"),
        ("http://lb.example/?a=b", "must end with the host"),
        ("http://me:secret@lb.example", "must end with the host"),
        ("http://[::1", "is not a URL"),
        ("http://lb example", "a host name"),
    ],
)
def test_what_is_no_address_is_said(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_admin_address(text)

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tcplb.config.models import ListenerConfig
from tcplb.control.addresses import Addresses, Opened
from tcplb.errors import BindError
from tests.processes import WAIT

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")


def listener(name: str, bind: str) -> ListenerConfig:
    return ListenerConfig(name=name, bind=bind, pool="web")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def port_of(opened: Opened, number: int) -> int:
    return int(dict(opened.new)[number].getsockname()[1])


class Listening:
    """What is listened on, as the supervisor keeps it."""

    def __init__(self, stack: ExitStack) -> None:
        self.addresses = Addresses()
        self.stack = stack
        self.sockets: dict[int, socket.socket] = {}

    def open(self, *listeners: ListenerConfig) -> Opened:
        opened = self.addresses.open(listeners)
        self.stack.callback(opened.close)
        return opened

    def take(self, *listeners: ListenerConfig) -> Opened:
        opened = self.open(*listeners)
        self.addresses.take_over(opened)
        self.sockets.update(opened.new)
        for number in opened.gone:
            self.sockets.pop(number).close()
        return opened


@pytest.fixture
def listening() -> Iterator[Listening]:
    with ExitStack() as stack:
        yield Listening(stack)


def test_each_listener_has_an_address_of_its_own(listening: Listening) -> None:
    one, other = listener("x", "127.0.0.1:0"), listener("y", "127.0.0.1:0")
    opened = listening.take(one, other)
    assert [opened.of(one), opened.of(other)] == [(1,), (2,)]
    assert [number for number, _ in opened.new] == [1, 2]
    assert port_of(opened, 1) != port_of(opened, 2)
    assert opened.gone == frozenset()
    assert listening.addresses.of(other) == (2,)


def test_what_stays_is_not_opened_again_whatever_its_name_is(listening: Listening) -> None:
    first = listening.take(listener("x", "127.0.0.1:0"))
    bind = f"127.0.0.2:{port_of(first, 1)}"
    listening.take(listener("x", bind))
    opened = listening.take(listener("y", bind), listener("z", "127.0.0.1:0"))
    assert opened.of(listener("y", bind)) == (2,)
    assert [number for number, _ in opened.new] == [3]
    assert opened.gone == frozenset()


def test_what_is_gone_is_named_and_its_number_is_nobody_elses(listening: Listening) -> None:
    opened = listening.take(listener("x", "127.0.0.1:0"), listener("y", "127.0.0.1:0"))
    opened = listening.take(listener("x", "127.0.0.1:0"))
    assert opened.gone == {2}
    opened = listening.take(listener("x", "127.0.0.1:0"), listener("y", "127.0.0.1:0"))
    assert [number for number, _ in opened.new] == [3]


def test_nothing_has_changed_until_it_is_taken_over(listening: Listening) -> None:
    one = listener("x", "127.0.0.1:0")
    listening.take(one)
    other = listening.open(listener("y", "127.0.0.1:0"))
    assert other.gone == {1}
    assert listening.addresses.of(one) == (1,)
    other.close()
    assert listening.open(one).new == ()


def test_what_cannot_be_opened_leaves_nothing_open(listening: Listening) -> None:
    one = listener("x", "127.0.0.1:0")
    listening.take(one)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        before = descriptors()
        with pytest.raises(BindError, match=f"cannot listen on {bind}: the address is in use"):
            listening.addresses.open([one, listener("y", "127.0.0.1:0"), listener("z", bind)])
        assert descriptors() == before
    assert listening.addresses.of(one) == (1,)


@pytest.mark.parametrize(("before", "after"), [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1")])
def test_a_port_may_go_from_one_address_to_another(
    listening: Listening, before: str, after: str
) -> None:
    with socket.create_server(("0.0.0.0", 0)) as free:
        port = free.getsockname()[1]
    old, new = listener("x", f"{before}:{port}"), listener("x", f"{after}:{port}")
    listening.take(old)
    opened = listening.take(new)
    assert opened.gone == {1}
    assert set(listening.sockets) == {2}
    socket.create_connection(("127.0.0.1", port), WAIT).close()


def test_but_not_while_the_other_one_stays(listening: Listening) -> None:
    with socket.create_server(("0.0.0.0", 0)) as free:
        port = free.getsockname()[1]
    one = listener("x", f"127.0.0.1:{port}")
    listening.take(one, listener("y", "127.0.0.1:0"))
    with pytest.raises(BindError, match="the address is in use"):
        listening.open(one, listener("y", f"0.0.0.0:{port}"))


@needs_ipv6
def test_a_host_with_two_addresses_has_two_numbers(listening: Listening) -> None:
    both = listener("x", "localhost:0")
    opened = listening.take(both)
    assert len(opened.of(both)) == len(opened.new) == len({n for n, _ in opened.new})
    assert listening.take(listener("y", "127.0.0.1:0")).gone == set(opened.of(both))

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from tcplb.config.units import parse_address
from tcplb.control.sockets import SocketSets, endpoint, open_another, open_listening_sockets
from tcplb.errors import BindError
from tests.processes import WAIT

Listen = Callable[[str], list[socket.socket]]

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def listen() -> Iterator[Listen]:
    with ExitStack() as stack:

        def open_them(bind: str) -> list[socket.socket]:
            opened = open_listening_sockets(bind, *parse_address(bind, bind=True))
            return [stack.enter_context(sock) for sock in opened]

        yield open_them


def connect(host: str, port: int) -> socket.socket:
    return socket.create_connection((host, port), timeout=WAIT)


def test_port_0_is_a_free_port_that_can_be_connected_to(listen: Listen) -> None:
    (sock,) = listen("127.0.0.1:0")
    host, port = sock.getsockname()
    assert host == "127.0.0.1"
    assert port > 0
    assert endpoint(sock) == f"127.0.0.1:{port}"
    connect(host, port).close()


def test_it_does_not_block(listen: Listen) -> None:
    (sock,) = listen("127.0.0.1:0")
    with pytest.raises(BlockingIOError):
        sock.accept()


@needs_ipv6
def test_an_ipv6_address_is_ipv6_alone(listen: Listen) -> None:
    (sock,) = listen("[::1]:0")
    port = sock.getsockname()[1]
    assert endpoint(sock) == f"[::1]:{port}"
    connect("::1", port).close()
    with pytest.raises(ConnectionRefusedError):
        connect("127.0.0.1", port)


@needs_ipv6
@pytest.mark.parametrize("bind", [":0", "*:0"])
def test_an_empty_host_is_both_families_on_one_port(listen: Listen, bind: str) -> None:
    (sock,) = listen(bind)
    port = sock.getsockname()[1]
    assert endpoint(sock) == f"[::]:{port}"
    for host in ("127.0.0.1", "::1"):
        connect(host, port).close()


def test_a_host_name_is_looked_up(listen: Listen) -> None:
    opened = listen("localhost:0")
    assert {sock.getsockname()[0] for sock in opened} <= {"127.0.0.1", "::1"}
    for sock in opened:
        connect(*sock.getsockname()[:2]).close()


def test_a_port_can_be_had_again_right_after_its_connections(listen: Listen) -> None:
    (sock,) = listen("127.0.0.1:0")
    port = sock.getsockname()[1]
    with connect("127.0.0.1", port):
        sock.accept()[0].close()  # the one that ends it first keeps the port busy for a while
    sock.close()
    assert listen(f"127.0.0.1:{port}")


def test_what_is_accepted_has_no_delay_and_keeps_alive(listen: Listen) -> None:
    (sock,) = listen("127.0.0.1:0")
    sock.setblocking(True)
    with connect(*sock.getsockname()), sock.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_another_one_on_the_same_address_gets_a_part_of_the_clients(listen: Listen) -> None:
    (first,) = listen("127.0.0.1:0")
    with open_another(first) as second, ExitStack() as stack:
        assert second.getsockname() == first.getsockname()
        for _ in range(100):
            stack.enter_context(connect(*first.getsockname()))
        accepted = [accept_all(sock, stack) for sock in (first, second)]
    assert sum(accepted) == 100
    assert min(accepted) > 10


def accept_all(sock: socket.socket, stack: ExitStack) -> int:
    accepted = 0
    with suppress(BlockingIOError):
        while True:
            stack.enter_context(sock.accept()[0])
            accepted += 1
    return accepted


def test_an_address_that_is_ours_to_share_is_taken_for_everybody_else(listen: Listen) -> None:
    (first,) = listen("127.0.0.1:0")
    port = first.getsockname()[1]
    with open_another(first), pytest.raises(BindError, match="is another tcplb running"):
        open_listening_sockets(f"127.0.0.1:{port}", "127.0.0.1", port)


@needs_proc
def test_a_set_that_cannot_be_opened_whole_is_not_there(listen: Listen) -> None:
    (first,), (second,) = listen("127.0.0.1:0"), listen("127.0.0.1:0")
    sets = SocketSets([(0, first), (1, second)])
    sets.open_another()
    assert [[listener for listener, _ in sets[number]] for number in (0, 1)] == [[0, 1]] * 2
    sets[1][1][1].close()
    second.close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lost = SocketSets([(0, first), (1, taken)])  # does not share its address
        before = open_descriptors()
        with pytest.raises(OSError, match="in use"):
            lost.open_another()
        assert (len(lost), open_descriptors()) == (1, before)
    sets.close()


@needs_proc
def test_what_a_set_lacks_is_opened(listen: Listen) -> None:
    (one,), (two,), (more,) = (listen("127.0.0.1:0") for _ in range(3))
    with closing(SocketSets([(0, one), (1, two)])) as sets:
        sets.add_given([(0, more)])
        sets.complete()
        assert [dict(sets[number]).keys() for number in range(2)] == [{0, 1}, {0, 1}]
        assert dict(sets[1])[0] is more
        assert endpoint(dict(sets[1])[1]) == endpoint(two)


def test_a_taken_port_is_told_as_it_was_written_and_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        before = open_descriptors()
        with pytest.raises(BindError) as caught:
            open_listening_sockets(f"LocalHost:{port}", "127.0.0.1", port)
        assert open_descriptors() == before
    assert str(caught.value) == (
        f"cannot listen on LocalHost:{port}: the address is in use; is another tcplb running?"
    )


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("no-such-host.invalid", ""),  # the words are the resolver's
        ("two..dots", "not a host name: a part between the dots is empty or too long"),
        ("a" * 64 + ".com", "not a host name: a part between the dots is empty or too long"),
        ("192.0.2.1", "no network interface of this machine has that address"),
    ],
)
def test_a_host_that_cannot_be_listened_on_is_told_with_the_reason(host: str, reason: str) -> None:
    with pytest.raises(BindError) as caught:
        open_listening_sockets(f"{host}:0", host, 0)
    start = f"cannot listen on {host}:0: "
    assert str(caught.value).startswith(start + reason)
    assert len(str(caught.value)) > len(start)


TWO_ADDRESSES = """
import os, socket
from tcplb.control.sockets import open_listening_sockets
from tcplb.errors import BindError

opened = open_listening_sockets("two.test:0", "two.test", 0)
print(sorted(sock.getsockname()[0] for sock in opened))
for sock in opened:
    sock.close()
found = socket.getaddrinfo("two.test", 0, type=socket.SOCK_STREAM)
with socket.create_server(found[-1][4][:2], family=found[-1][0]) as taken:
    before = len(os.listdir("/proc/self/fd"))
    try:
        open_listening_sockets("two.test", "two.test", taken.getsockname()[1])
    except BindError as error:
        print(error)
    print(len(os.listdir("/proc/self/fd")) - before)
"""


@needs_ipv6
@needs_proc
def test_a_name_with_two_addresses_is_both_or_none(tmp_path: Path) -> None:
    in_own_mounts = ["unshare", "--map-root-user", "--mount"]
    allowed = shutil.which("unshare") and subprocess.run(
        [*in_own_mounts, "true"], capture_output=True, check=False
    )
    if not allowed or allowed.returncode:
        pytest.skip("needs `unshare --map-root-user --mount`, to have a hosts file of its own")
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 two.test\n::1 two.test\n")
    script = tmp_path / "script.py"
    script.write_text(TWO_ADDRESSES)
    mount = f"mount --bind {hosts} /etc/hosts && exec {sys.executable} -W error {script}"
    done = subprocess.run(
        [*in_own_mounts, "sh", "-c", mount],
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "['127.0.0.1', '::1']",
        "cannot listen on two.test: the address is in use; is another tcplb running?",
        "0",
    ]

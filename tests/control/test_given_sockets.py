from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.control.given_sockets import (
    GivenSockets,
    Served,
    clean_environment,
    given_sockets,
    hand_over,
)
from tests.processes import WAIT

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
LOOPBACK = "127.0.0.1"


class Giver:
    """Opens sockets, and gives them to this process as if it had just started."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def listening(self, host: str = LOOPBACK, port: int = 0) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return self.kept(socket.create_server((host, port), family=family))

    def kept(self, sock: socket.socket) -> socket.socket:
        return self._stack.enter_context(sock)

    def hand_over(
        self, *sockets: tuple[str, socket.socket], host: str = LOOPBACK, port: int = 0
    ) -> GivenSockets:
        """Hand over copies of `sockets`, of listeners of these names and this address."""
        copies = [Served(sock.dup(), name, host, port) for name, sock in sockets]
        return self.take_over(hand_over(copies), [each.sock.detach() for each in copies])

    def take_over(self, environ: dict[str, str], ours: Sequence[int] = ()) -> GivenSockets:
        for number in ours:
            os.set_inheritable(number, True)
        taken = given_sockets(environ, os.getpid())
        self._stack.callback(taken.close)
        return taken

    def taken(self, sockets: GivenSockets, host: str, port: int, name: str) -> list[int]:
        """Let a listener take what is its; return the ports."""
        return [self.kept(sock).getsockname()[1] for sock in sockets.take(host, port, name)]


@pytest.fixture
def giver() -> Iterator[Giver]:
    with ExitStack() as stack:
        yield Giver(stack)


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


# -- by address, and by name ------------------------------------------------------------------


def test_a_listener_takes_what_is_bound_to_its_address(giver: Giver) -> None:
    one, other = giver.listening(), giver.listening("127.0.0.2")
    sockets = giver.hand_over(("web", one), ("db", other))
    assert giver.taken(sockets, LOOPBACK, port_of(other), "x") == []
    assert giver.taken(sockets, "127.0.0.2", port_of(one), "x") == []
    assert giver.taken(sockets, LOOPBACK, port_of(one), "renamed") == [port_of(one)]
    assert giver.taken(sockets, LOOPBACK, port_of(one), "renamed") == []
    assert len(sockets.left) == 1
    assert sockets.left[0].endswith(f"(db), bound to 127.0.0.2:{port_of(other)}")
    assert sockets.problems == ()


def test_a_host_name_is_what_it_resolves_to(giver: Giver) -> None:
    one = giver.listening()
    sockets = giver.hand_over(("web", one))
    assert giver.taken(sockets, "localhost", port_of(one), "web") == [port_of(one)]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "two..dots"])
def test_a_host_that_cannot_be_resolved_takes_nothing(giver: Giver, host: str) -> None:
    sockets = giver.hand_over(("web", giver.listening()))
    assert giver.taken(sockets, host, 1, "web") == []
    assert len(sockets.left) == 1


def test_all_of_a_group_on_one_address_are_taken(giver: Giver) -> None:
    group = [giver.kept(socket.socket()) for _ in range(3)]
    for sock in group:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((LOOPBACK, 0 if sock is group[0] else port_of(group[0])))
        sock.listen()
    port = port_of(group[0])
    sockets = giver.hand_over(*(("web", sock) for sock in group))
    assert giver.taken(sockets, LOOPBACK, port, "web") == [port] * 3
    assert sockets.left == ()


def test_port_0_finds_the_sockets_that_its_listener_had(giver: Giver) -> None:
    one, other = giver.listening(), giver.listening()
    sockets = giver.hand_over(("web", one), ("db", other), ("moved", giver.listening()))
    assert giver.taken(sockets, LOOPBACK, 0, "web") == [port_of(one)]
    assert giver.taken(sockets, "127.0.0.2", 0, "moved") == []
    assert giver.taken(sockets, LOOPBACK, 0, "db") == [port_of(other)]
    assert giver.taken(sockets, LOOPBACK, 0, "db") == []
    assert len(sockets.left) == 1


def test_a_listener_that_has_moved_leaves_its_socket(giver: Giver) -> None:
    one, other = giver.listening(), giver.listening()
    sockets = giver.hand_over(("web", one), port=port_of(one))
    assert giver.taken(sockets, LOOPBACK, port_of(other), "web") == []


def test_what_systemd_gave_by_name_stays_with_its_listener(giver: Giver) -> None:
    one = giver.listening()
    sockets = giver.hand_over(("web", one), host="::1", port=80)
    assert giver.taken(sockets, "::1", 80, "db") == []
    assert giver.taken(sockets, "::1", 81, "web") == []
    assert giver.taken(sockets, "::1", 80, "web") == [port_of(one)]


@needs_ipv6
def test_ipv6_addresses_are_compared_by_address(giver: Giver) -> None:
    one = giver.listening("::1")
    sockets = giver.hand_over(("web", one))
    assert giver.taken(sockets, LOOPBACK, port_of(one), "web") == []
    assert giver.taken(sockets, "0:0:0:0:0:0:0:1", port_of(one), "web") == [port_of(one)]


@needs_ipv6
def test_the_empty_host_is_a_socket_for_both_families(giver: Giver) -> None:
    both = giver.kept(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True))
    one = giver.listening("::")
    assert one.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    sockets = giver.hand_over(("a", both), ("b", one), host="::", port=1)
    assert giver.taken(sockets, "", port_of(one), "b") == []
    assert giver.taken(sockets, "", 0, "b") == []
    assert giver.taken(sockets, "", port_of(both), "a") == [port_of(both)]
    assert giver.taken(sockets, "::", port_of(one), "b") == [port_of(one)]


def test_without_a_name_port_0_finds_nothing(giver: Giver) -> None:
    number = giver.listening().dup().detach()
    sockets = giver.take_over({"TCPLB_SOCKETS": str(number)}, [number])
    assert giver.taken(sockets, LOOPBACK, 0, "web") == []
    assert len(sockets.left) == 1
    assert sockets.left[0].startswith(f"descriptor {number}, bound to 127.0.0.1:")


def test_names_with_colons_and_brackets_are_found_again(giver: Giver) -> None:
    one = giver.listening()
    sockets = giver.hand_over(("[::1]:80@x", one))
    assert giver.taken(sockets, LOOPBACK, 0, "[::1]:80@x") == [port_of(one)]


# -- what becomes of a socket -----------------------------------------------------------------


def test_it_gets_the_options_of_our_own_and_is_not_inherited(giver: Giver) -> None:
    one = giver.listening()
    sockets = giver.hand_over(("web", one))
    (sock,) = sockets.take(LOOPBACK, port_of(one), "web")
    giver.kept(sock)
    assert not sock.get_inheritable()
    assert not sock.getblocking()
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    with pytest.raises(BlockingIOError):
        sock.accept()
    with socket.create_connection((LOOPBACK, port_of(one)), timeout=WAIT):
        sock.accept()[0].close()


def test_its_backlog_is_as_long_as_that_of_our_own(giver: Giver) -> None:
    one = giver.kept(socket.socket())
    one.bind((LOOPBACK, 0))
    one.listen(0)
    giver.hand_over(("web", one))
    # A queue of one would be full now, and the kernel drop the rest until the time-out.
    for _ in range(10):
        giver.kept(socket.create_connection((LOOPBACK, port_of(one)), timeout=WAIT))


@needs_ipv6
def test_ipv6_alone_stays_as_it_is(giver: Giver) -> None:
    one = giver.listening("::")
    sockets = giver.hand_over(("web", one))
    (sock,) = sockets.take("::", port_of(one), "web")
    assert giver.kept(sock).getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def test_close_closes_what_is_left_and_nothing_else(giver: Giver) -> None:
    one, other = giver.listening(), giver.listening()
    kept_port, lost_port = port_of(one), port_of(other)
    sockets = giver.hand_over(("web", one), ("db", other))
    giver.taken(sockets, LOOPBACK, kept_port, "web")
    one.close()
    other.close()
    sockets.close()
    assert sockets.left == ()
    socket.create_connection((LOOPBACK, kept_port), timeout=WAIT).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, lost_port), timeout=WAIT)


def test_a_unix_socket_is_kept_apart(giver: Giver, tmp_path: Path) -> None:
    unix = giver.kept(socket.socket(socket.AF_UNIX))
    unix.bind(str(tmp_path / "socket"))
    unix.listen()
    sockets = giver.hand_over(("web", unix))
    assert giver.taken(sockets, LOOPBACK, 0, "web") == []
    assert sockets.problems == ()
    assert len(sockets.left) == 1
    assert sockets.left[0].endswith("(web): a Unix socket, which is not for a listener")


# -- what is no listening socket --------------------------------------------------------------


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def not_listening() -> dict[str, int]:
    """Descriptors that cannot be listened on, by what is said of them."""
    bound = socket.socket()
    bound.bind((LOOPBACK, 0))
    return {
        "Socket operation on non-socket": os.open(os.devnull, os.O_RDONLY),
        "not a stream socket": socket.socket(type=socket.SOCK_DGRAM).detach(),
        "not a listening socket": bound.detach(),
    }


def test_what_is_no_listening_socket_is_told_and_closed(giver: Giver) -> None:
    given = not_listening()
    variable = ",".join(f"{number}@web" for number in given.values())
    sockets = giver.take_over({"TCPLB_SOCKETS": variable})
    assert sockets.problems == tuple(f"descriptor {n}: {words}" for words, n in given.items())
    assert sockets.left == ()
    assert not any(map(is_open, given.values()))


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="needs Linux")
def test_another_family_is_told_and_closed(giver: Giver) -> None:
    number = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).detach()
    sockets = giver.take_over({"TCPLB_SOCKETS": str(number)})
    assert sockets.problems == (f"descriptor {number}: neither a TCP nor a Unix socket",)
    assert not is_open(number)


def test_a_descriptor_that_is_not_open_is_told(giver: Giver) -> None:
    sockets = giver.take_over({"TCPLB_SOCKETS": "987654"})
    assert sockets.problems == ("descriptor 987654: Bad file descriptor",)


def test_a_descriptor_named_twice_is_told_and_taken_once(giver: Giver) -> None:
    one = giver.listening()
    number = one.dup().detach()
    sockets = giver.take_over({"TCPLB_SOCKETS": f"{number}@127.0.0.1:0@a,{number}@127.0.0.1:0@b"})
    assert sockets.problems == (f"TCPLB_SOCKETS: descriptor {number} is named twice",)
    assert giver.taken(sockets, LOOPBACK, 0, "a") == [port_of(one)]


@pytest.mark.parametrize("word", ["0", "1", "2", "-1", "x", "٣", "1e3", "", "9" * 5000, "\x1b[2J"])
def test_a_word_that_is_no_descriptor_is_told_and_nothing_closed(giver: Giver, word: str) -> None:
    sockets = giver.take_over({"TCPLB_SOCKETS": f"{word}@:80@web"})
    (problem,) = sockets.problems
    assert problem.startswith("TCPLB_SOCKETS: ")
    assert problem.endswith(" is no descriptor from 3 on")
    assert problem.isprintable()
    assert all(map(is_open, range(3)))


@given(st.text(alphabet=st.characters(exclude_characters="0123456789", exclude_categories=["Cs"])))
def test_no_value_is_an_error(text: str) -> None:
    environ = {"TCPLB_SOCKETS": text, "LISTEN_PID": "7", "LISTEN_FDS": text}
    assert given_sockets(environ, 7).problems


# -- systemd's variables ----------------------------------------------------------------------


def by_systemd(pid: int, **others: str) -> GivenSockets:
    return given_sockets({"LISTEN_PID": str(pid)} | others, 42)


def test_no_variables_no_sockets() -> None:
    sockets = given_sockets({}, 42)
    assert (sockets.problems, sockets.left) == ((), ())
    assert sockets.take(LOOPBACK, 0, "web") == []


def test_what_is_for_another_process_is_left_alone() -> None:
    assert by_systemd(43, LISTEN_FDS="x").problems == ()
    assert given_sockets({"LISTEN_FDS": "1"}, 42).problems == ()


@pytest.mark.parametrize("count", ["", "x", "-1", "4097", "1" * 5000])
def test_a_count_that_cannot_be_is_told(count: str) -> None:
    assert by_systemd(42, LISTEN_FDS=count).problems == (
        "LISTEN_FDS is no number of descriptors that could be",
    )


def test_a_count_of_none_is_fine() -> None:
    assert by_systemd(42, LISTEN_FDS="0").problems == ()


def test_children_do_not_get_the_variables() -> None:
    ours = dict.fromkeys(["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "TCPLB_SOCKETS"], "1")
    environ = ours | {"TCPLB_CONFIG": "x"}
    assert clean_environment(environ) == {"TCPLB_CONFIG": "x"}
    assert environ.keys() > ours.keys()


CHILD = """
import json, os, sys
from tcplb.control.given_sockets import given_sockets

sockets = given_sockets(os.environ, os.getpid())
takes = json.loads(sys.argv[1])
taken = [[sock.getsockname()[1] for sock in sockets.take(*take)] for take in takes]
print(json.dumps({"taken": taken, "left": sockets.left, "problems": sockets.problems}))
sockets.close()
"""


def in_a_child(
    sockets: Sequence[socket.socket], takes: Sequence[Any], **environment: str
) -> dict[str, Any]:
    """Start a process as systemd does, with `sockets` from descriptor 3 on; return what it says."""
    # High copies first, then down to their places: none is overwritten before it is copied. Not
    # by the shell, where a redirection knows only one digit.
    place = (
        "import os, sys\n"
        "numbers = [int(word) for word in sys.argv[1].split(',') if word]\n"
        "for place, number in enumerate(numbers, 3):\n"
        "    os.dup2(number, place)\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "os.execv(sys.executable, [sys.executable, '-W', 'ignore', '-c', *sys.argv[2:]])\n"
    )
    high = [_high_copy(sock, 50 + index) for index, sock in enumerate(sockets)]
    numbers = ",".join(map(str, high))
    done = subprocess.run(
        [sys.executable, "-c", place, numbers, CHILD, json.dumps(takes)],
        pass_fds=high,
        env=dict(os.environ) | {"LISTEN_FDS": str(len(sockets))} | environment,
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    for number in high:
        os.close(number)
    assert done.stderr == ""
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _high_copy(sock: socket.socket, number: int) -> int:
    return fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, number)


def test_systemd_s_sockets_are_taken_by_address(giver: Giver) -> None:
    one, other = giver.listening(), giver.listening()
    takes = [(LOOPBACK, port_of(other), "db"), (LOOPBACK, port_of(one), "web")]
    said = in_a_child([one, other], takes)
    assert said == {"taken": [[port_of(other)], [port_of(one)]], "left": [], "problems": []}


def test_systemd_s_sockets_are_taken_by_name(giver: Giver) -> None:
    one, other, third = giver.listening(), giver.listening(), giver.listening()
    takes = [("10.9.8.7", 80, "db"), (LOOPBACK, 0, "web"), (LOOPBACK, 0, "x")]
    said = in_a_child([one, other, third], takes, LISTEN_FDNAMES="web:db:tcplb.socket")
    assert said == {
        "taken": [[port_of(other)], [port_of(one)], []],
        "left": [f"descriptor 5 (tcplb.socket), bound to 127.0.0.1:{port_of(third)}"],
        "problems": [],
    }


def test_names_that_do_not_fit_count_for_nothing(giver: Giver) -> None:
    one = giver.listening()
    said = in_a_child([one], [(LOOPBACK, 0, "web")], LISTEN_FDNAMES="web:db")
    assert said["taken"] == [[]]
    assert said["problems"] == ["LISTEN_FDNAMES has 2 names for 1 descriptors"]


def test_both_kinds_at_once_and_a_number_that_both_name(giver: Giver) -> None:
    one, other = giver.listening(), giver.listening()
    takes = [(LOOPBACK, 0, "web"), (LOOPBACK, 0, "db")]
    variables = {"LISTEN_FDNAMES": "web", "TCPLB_SOCKETS": f"3@{LOOPBACK}:0@db,4@{LOOPBACK}:0@db"}
    said = in_a_child([one, other], takes, LISTEN_FDS="1", **variables)
    assert said == {
        "taken": [[port_of(one)], [port_of(other)]],
        "left": [],
        "problems": ["TCPLB_SOCKETS: descriptor 3 is named twice"],
    }

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.control.notify import Notifier, without_notify
from tests.processes import WAIT


class Service:
    """What stands for the service manager: a datagram socket, and a notifier that sends to it."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(WAIT)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.notifier = Notifier.from_environment(
            {"NOTIFY_SOCKET": address}, monotonic_ns=lambda: 1_234_567_899
        )

    def heard(self) -> str:
        return self._socket.recv(65536).decode()

    def is_full(self) -> bool:
        """Whether a message would have to wait."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            try:
                other.sendto(b"WATCHDOG=1", self._socket.getsockname())
            except BlockingIOError:
                return True
        return False

    def close(self) -> None:
        self.notifier.close()
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    path = str(tmp_path / "notify")
    made = Service(path if request.param == "path" else "@tcplb" + path)
    yield made
    made.close()


def test_each_message_as_the_protocol_has_it(service: Service) -> None:
    notifier = service.notifier
    notifier.ready("serving on 127.0.0.1:9090")
    assert service.heard() == "READY=1\nSTATUS=serving on 127.0.0.1:9090"
    notifier.reloading()
    assert service.heard() == "RELOADING=1\nMONOTONIC_USEC=1234567"
    notifier.status("draining")
    assert service.heard() == "STATUS=draining"
    notifier.stopping()
    assert service.heard() == "STOPPING=1"
    notifier.main_pid(4711)
    assert service.heard() == "MAINPID=4711"
    notifier.watchdog()
    assert service.heard() == "WATCHDOG=1"


@pytest.mark.parametrize("text", ["a\nREADY=1", "a\r\nREADY=1", "a\rREADY=1", "a\x0bREADY=1"])
def test_a_status_is_one_line(service: Service, text: str) -> None:
    service.notifier.status(text)
    assert service.heard() == "STATUS=a READY=1"


def test_a_status_of_bytes_that_are_no_text_is_sent_all_the_same(service: Service) -> None:
    service.notifier.status("caf\udce9")
    assert service.heard() == "STATUS=caf?"


def test_nothing_is_sent_after_the_close(service: Service) -> None:
    service.notifier.close()
    service.notifier.stopping()
    service.notifier.close()


@pytest.mark.parametrize("address", [None, "", "@", "/", "relative/path", "vsock:2:1234"])
def test_without_an_address_that_makes_sense_it_does_nothing(address: str | None) -> None:
    environ = {"WATCHDOG_USEC": "2000000"}
    if address is not None:
        environ["NOTIFY_SOCKET"] = address
    notifier = Notifier.from_environment(environ)
    for tell in (notifier.reloading, notifier.stopping, notifier.watchdog, notifier.close):
        tell()
    notifier.ready("")
    assert notifier.watchdog_interval is None


def test_the_real_clock_is_the_default(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(WAIT)
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
        notifier.reloading()
        notifier.close()
        assert int(manager.recv(100).rpartition(b"=")[2]) > 0


# -- what goes wrong --------------------------------------------------------------------------


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert {record.levelno for record in caplog.records} <= {logging.DEBUG}
    return [record.getMessage() for record in caplog.records]


def test_a_socket_that_is_gone_is_said_once_and_used_again_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tcplb.notify")
    address = str(tmp_path / "notify")
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    notifier.watchdog()
    notifier.watchdog()
    (complaint,) = complaints(caplog)
    assert complaint.startswith("the service manager cannot be told: ")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(WAIT)
        notifier.watchdog()
        assert manager.recv(100) == b"WATCHDOG=1"
    notifier.close()


def test_a_full_socket_does_not_block(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "tcplb.notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        # A queue holds at most net.unix.max_dgram_qlen of them, and a socket's buffer far fewer
        # than this many.
        for _ in range(20_000):
            notifier.watchdog()
        notifier.close()
    assert len(complaints(caplog)) == 1


def test_a_full_socket_that_is_read_after_a_while_gets_what_matters(service: Service) -> None:
    service.notifier.watchdog()
    while not service.is_full():
        service.notifier.watchdog()
    with ThreadPoolExecutor() as threads:
        told = threads.submit(service.notifier.main_pid, 4711)
        assert service.heard() == "WATCHDOG=1"
        told.result(WAIT)
    while (message := service.heard()) == "WATCHDOG=1":
        pass
    assert message == "MAINPID=4711"


@pytest.mark.parametrize("address", ["/" + "x" * 200, "@" + "x" * 200])
def test_an_address_that_no_socket_can_have_disturbs_nobody(address: str) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    notifier.ready("")
    notifier.close()


# -- the watchdog -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usec", "watched", "interval"),
    [
        ("3000000", None, 1.5),
        ("3000000", "42", 1.5),
        ("3000000", "43", None),
        ("3000000", "", None),
        ("1", None, 5e-7),
        ("0", None, None),
        ("", None, None),
        ("-1", None, None),
        ("3s", None, None),
        ("٣", None, None),
        ("9" * 5000, None, None),
    ],
)
def test_the_watchdog_is_fed_at_half_its_time_if_it_watches_this_process(
    usec: str, watched: str | None, interval: float | None
) -> None:
    environ = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": usec}
    if watched is not None:
        environ["WATCHDOG_PID"] = watched
    notifier = Notifier.from_environment(environ, pid=42)
    notifier.close()
    assert notifier.watchdog_interval == interval


def test_this_process_is_the_default() -> None:
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier.from_environment(environ)
    notifier.close()
    assert notifier.watchdog_interval == 1.0


def test_no_watchdog_without_its_time() -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": "/run/notify"})
    notifier.close()
    assert notifier.watchdog_interval is None


@given(st.text(), st.text(), st.text())
def test_no_environment_is_an_error(address: str, usec: str, pid: str) -> None:
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    Notifier.from_environment(environ).close()


# -- what children get ------------------------------------------------------------------------


def test_children_do_not_get_the_variables_and_the_environment_stays_as_it_is() -> None:
    ours = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}
    environ = ours | {"PATH": "/bin"}
    assert without_notify(environ) == {"PATH": "/bin"}
    assert environ == ours | {"PATH": "/bin"}
    Notifier.from_environment(environ).close()
    assert environ == ours | {"PATH": "/bin"}

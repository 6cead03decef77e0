from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tcplb.config.listeners import ListenerConfig
from tcplb.config.units import format_address
from tcplb.control.doctor.finding import Level
from tcplb.control.doctor.listeners import check_listener
from tcplb.control.sockets import open_listening_sockets
from tests.control.doctor.machines import judged
from tests.processes import WAIT

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")


def listener(bind: str) -> ListenerConfig:
    return ListenerConfig(name="web", bind=bind)


@pytest.mark.parametrize("bind", ["127.0.0.1:0", ":0", "localhost:0"])
def test_a_free_port(bind: str) -> None:
    finding = check_listener(listener(bind))
    assert judged(finding) == (Level.OK, "")
    assert (finding.check, finding.what) == ("listener web", f"{bind} can be bound")


def test_a_port_that_another_program_has() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finding = check_listener(listener(f"127.0.0.1:{port}"))
    assert finding.level is Level.PROBLEM
    assert finding.what == f"127.0.0.1:{port} is in use"
    assert f"ss -ltnp 'sport = :{port}'" in finding.todo


@needs_ipv6
def test_a_port_that_is_taken_for_one_family_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert check_listener(listener(f":{port}")).level is Level.PROBLEM
        assert check_listener(listener(f"[::1]:{port}")).level is Level.OK


def test_a_port_that_a_running_tcplb_has_and_no_client_is_lost() -> None:
    (ours,) = open_listening_sockets("", "127.0.0.1", 0)
    with ours:
        port = ours.getsockname()[1]
        finding = check_listener(listener(f"127.0.0.1:{port}"))
        assert finding.level is Level.WARNING
        assert "as a running tcplb does" in finding.what
        socket.create_connection(("127.0.0.1", port), timeout=WAIT).close()
        ours.accept()[0].close()


def test_the_port_is_free_again_afterwards() -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    assert check_listener(listener(f"127.0.0.1:{port}")).level is Level.OK
    (opened,) = open_listening_sockets("", "127.0.0.1", port)
    opened.close()


def test_an_address_of_another_machine() -> None:
    finding = check_listener(listener("192.0.2.1:0"))
    assert judged(finding) == (Level.PROBLEM, "ip address shows those there are")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "two..dots"])
def test_a_host_that_cannot_be_resolved(host: str) -> None:
    finding = check_listener(listener(f"{host}:0"))
    assert finding.level is Level.PROBLEM
    assert finding.what.startswith(f"the host of {host}:0 cannot be resolved: ")


ASK = """
from tcplb.config.listeners import ListenerConfig
from tcplb.control.doctor.listeners import check_listener
finding = check_listener(ListenerConfig(name="web", bind="127.0.0.1:80"))
print(finding.level, finding.what, finding.todo, sep="; ")
"""


def test_a_port_that_needs_privileges() -> None:
    first = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not first.exists() or int(first.read_text()) <= 80:
        pytest.skip("needs a system where port 80 is privileged")
    drop = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv, to have no privileges")
        drop = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
    done = subprocess.run(
        [*drop, sys.executable, "-c", ASK],
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    assert done.stdout == (
        "problem; 127.0.0.1:80 needs privileges: this user may not bind port 80; "
        "AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit file, "
        "or sysctl -w net.ipv4.ip_unprivileged_port_start=80\n"
    )


@needs_ipv6
def test_ipv6_is_written_with_brackets() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        address = format_address(*taken.getsockname()[:2])
        assert check_listener(listener(address)).what == f"{address} is in use"

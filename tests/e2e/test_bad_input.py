"""Wrong settings, taken ports, missing files: a clear message, an exit code, no traceback."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from tests.processes import Running, balancer, curl, echo_backends, port_of, tcplb

pytestmark = pytest.mark.e2e


def ended(running: Running) -> tuple[int, str]:
    """Wait until a command ends; return its exit code and output, which is never a traceback."""
    with running:
        code = running.wait()
    assert "Traceback" not in running.output
    return code, running.output


def test_a_taken_port_is_exit_4() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, output = ended(tcplb("serve", "--listen", f"127.0.0.1:{port}"))
    assert code == 4
    assert output.endswith(
        f"tcplb: cannot listen on 127.0.0.1:{port}: the address is in use; "
        "is another tcplb running?"
    )


def test_nothing_is_served_when_the_second_of_two_ports_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        first = free.getsockname()[1]
        free.close()
        second = taken.getsockname()[1]
        listen = ("--listen", f"127.0.0.1:{first}", "--listen", f"127.0.0.1:{second}")
        code, output = ended(tcplb("serve", *listen))
    assert code == 4
    assert "listening on" not in output


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)")
def test_a_privileged_port_is_exit_4() -> None:
    command = [sys.executable, "-m", "tcplb", "serve", "--listen", "127.0.0.1:81"]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-net_bind_service", *command]
    lowest = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
    if int(lowest) <= 81:
        pytest.skip("this machine lets anybody bind port 81")
    code, output = ended(Running(command))
    assert code == 4
    assert "ports below 1024 need root or CAP_NET_BIND_SERVICE" in output


def test_an_address_of_another_machine_is_exit_4() -> None:
    code, output = ended(tcplb("serve", "--listen", "192.0.2.1:9090"))
    assert code == 4
    assert "cannot listen on 192.0.2.1:9090: no network interface of this machine" in output


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["serve", "--config", "missing.toml"], 3, "missing.toml: no such file"),
        (["check", "missing.toml"], 3, "missing.toml: no such file"),
        (["serve", "--strategy", "hsah"], 2, "round-robin"),
        (["serve", "--idle-timeout", "5 parsecs"], 2, "--idle-timeout: must be a duration"),
        (["serve", "--listen", "9090"], 2, "--listen"),
        (["serve", "--backend", "127.0.0.1:1,weight=999"], 2, "must be at most 256 (got 999)"),
        (["serve", "--no-such-flag"], 2, "--no-such-flag"),
        (["serve", "--access-log", "/no/such/folder/log"], 1, "No such file or directory"),
        (["no-such-command"], 2, "no-such-command"),
    ],
)
def test_bad_arguments(arguments: list[str], code: int, text: str) -> None:
    got, output = ended(tcplb(*arguments))
    assert (got, text in output) == (code, True), output


def test_a_variable_is_named_in_its_error() -> None:
    running = tcplb("config", "show", environment={"TCPLB_IDLE_TIMEOUT": "soon"})
    code, output = ended(running)
    assert code == 2
    assert output.startswith("TCPLB_IDLE_TIMEOUT: must be a duration")


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "tcplb.toml"
    file.write_text(
        '[[listeners]]\nbind = "127.0.0.1:9090"\npool = "wbe"\n\n'
        '[pools.web]\nstrategy = "hsah"\n\n'
        '[[pools.web.backends]]\naddress = "127.0.0.1:8081"\nweight = 999\nwieght = 1\n'
    )
    code, output = ended(tcplb("check", str(file)))
    assert code == 3
    assert [line.removeprefix(f"{file}:") for line in output.splitlines()] == [
        '3: listeners[0].pool: no such pool (got "wbe"; did you mean "web"?)',
        "6: pools.web.strategy: must be one of round-robin, least-connections, random, "
        "power-of-two, hash, maglev, rendezvous, peak-ewma, first, module:function "
        '(got "hsah"; did you mean "hash"?)',
        "10: pools.web.backends[0].weight: must be at most 256 (got 999)",
        '11: pools.web.backends[0].wieght: unknown key (did you mean "weight"?)',
    ]


def test_a_full_disk_for_the_access_log_stops_nothing(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with echo_backends() as backends:
        flags = ("--access-log", str(full))
        with balancer(*flags, backends=[port_of(backends[0])]) as (lb, port):
            for _ in range(3):
                assert curl(f"http://127.0.0.1:{port}/").returncode == 0
            lb.wait_for(r"cannot write the access log /dev/full: No space left on device")
            assert curl(f"http://127.0.0.1:{port}/").returncode == 0
            lb.process.terminate()
            assert lb.wait() == 0
            lb.wait_for(r"the access log lost \d+ lines")
            assert "Traceback" not in lb.output


def test_a_reader_of_stdout_that_goes_away_stops_nothing() -> None:
    with echo_backends() as backends:
        serve = f"-m tcplb serve --listen 127.0.0.1:0 --backend 127.0.0.1:{port_of(backends[0])}"
        with Running(["bash", "-c", f"exec {sys.executable} {serve} > >(true)"]) as lb:
            port = int(lb.wait_for(r"listening on \S+:(\d+)")[0][1])
            for _ in range(3):
                assert curl(f"http://127.0.0.1:{port}/").returncode == 0
            lb.wait_for(r"nobody reads the access log \(stdout\) any more")
            assert curl(f"http://127.0.0.1:{port}/").returncode == 0
            lb.process.terminate()
            assert lb.wait() == 0
            assert "Traceback" not in lb.output


def test_garbage_of_every_kind_stops_nothing() -> None:
    with echo_backends() as backends:
        flags = ("--strategy", "hash", "--log-format", "json")
        with balancer(*flags, backends=[port_of(backends[0])]) as (lb, port):
            for garbage in (
                b"\x00" * 10_000,
                b"GET " + b"a" * 20_000,
                b"GET /\x1b[31m\xff\x80 HTTP/1.1\r\n\r\n",
                b'GET /\\"{}%s%n HTTP/1.1\r\nConnection: close\r\n\r\n',
                b"\r\n" * 5000,
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                b"",
            ):
                with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
                    client.sendall(garbage)
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(65536):
                        pass
            lb.wait_for(r'"termination"', count=7)
            assert "Traceback" not in lb.output
            assert "\x1b" not in lb.output
            assert curl(f"http://127.0.0.1:{port}/").returncode == 0

"""The main job on real input: real processes, real sockets, real curl, kill -9."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.processes import WAIT, Running, balancer, curl, echo_backends, port_of

pytestmark = pytest.mark.e2e

FOUR = (0, 0, 0, 0)


def ask(port: int, path: str) -> str:
    """Return the port of the backend that answered for `path`."""
    answer = curl(f"http://127.0.0.1:{port}{path}")
    assert answer.returncode == 0, answer.stderr
    match = re.fullmatch(r"Received request on server running on port (\d+)\n", answer.stdout)
    assert match, answer.stdout
    return match[1]


def kill(backend: Running) -> int:
    """Kill one backend with -9; return the port that it had."""
    port = port_of(backend)
    backend.signal(signal.SIGKILL)
    assert backend.wait() == -signal.SIGKILL
    return port


def test_a_killed_backend_is_routed_around_and_comes_back(tmp_path: Path) -> None:
    config = tmp_path / "tcplb.toml"
    with echo_backends(ports=FOUR) as backends:
        ports = [port_of(backend) for backend in backends]
        listed = "".join(
            f'[[pools.web.backends]]\naddress = "127.0.0.1:{port}"\n' for port in ports
        )
        config.write_text(
            # With "auto", a client that takes over 200 ms to ask is placed by its address.
            '[pools.web]\nstrategy = "hash"\nhash_key = "request"\n'
            f'[pools.web.eject]\nbase_time = "300ms"\n{listed}'
        )
        with balancer("--config", str(config)) as (lb, port):
            paths = [f"/{n}" for n in range(40)]
            before = {path: ask(port, path) for path in paths}
            assert set(before.values()) == {str(p) for p in ports}
            assert {path: ask(port, path) for path in paths} == before

            victim = kill(backends[1])
            during = {path: ask(port, path) for path in paths}
            assert str(victim) not in during.values()
            stayed = [path for path in paths if before[path] != str(victim)]
            assert all(during[path] == before[path] for path in stayed)
            lb.wait_for(rf"backend 127\.0\.0\.1:{victim} ejected for")

            with echo_backends(ports=[victim]):
                path = next(path for path in paths if before[path] == str(victim))
                while not re.search(rf":{victim} is back", lb.output):
                    ask(port, path)  # each is answered, by whom it may be
                assert {path: ask(port, path) for path in paths} == before


@pytest.mark.parametrize("strategy", ["round-robin", "hash"])
@pytest.mark.parametrize(
    ("at_once", "delay"),
    [(1, "0s"), (1000, "4s")],  # slow answers keep (nearly) all of them open together
)
def test_a_thousand_curls_right_after_a_kill_all_get_an_answer(
    strategy: str, at_once: int, delay: str
) -> None:
    with (
        echo_backends("--delay", delay, ports=FOUR) as backends,
        balancer("--strategy", strategy, backends=[port_of(backend) for backend in backends]) as (
            lb,
            port,
        ),
    ):
        victim = kill(backends[2])
        answers = _thousand_curls(port, at_once)
        assert sum(answers.values()) == 1000, answers
        assert set(answers) == {
            f"Received request on server running on port {port_of(backend)}"
            for backend in backends
            if port_of(backend) != victim
        }
        lb.wait_for(rf"backend 127\.0\.0\.1:{victim} ejected for")


def _thousand_curls(port: int, at_once: int) -> Counter[str]:
    """Run 1000 curl processes, up to `at_once` at a time; none of them may fail."""
    script = f"seq 1000 | xargs -P {at_once} -I N curl -sS --max-time 60 http://127.0.0.1:{port}/N"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return Counter(done.stdout.splitlines())


def test_round_robin_takes_turns_in_the_order_given() -> None:
    with echo_backends(ports=FOUR) as backends:
        ports = [port_of(backend) for backend in backends]
        with balancer(backends=ports) as (_, port):
            assert [int(ask(port, "/")) for _ in range(8)] == ports * 2


def test_curl_as_proxy_and_directly_meet_the_same_backend() -> None:
    with echo_backends(ports=FOUR) as backends:
        ports = [port_of(backend) for backend in backends]
        flags = ("--strategy", "hash", "--hash-key", "request")
        with balancer(*flags, backends=ports) as (_, port):
            for number in range(20):
                proxied = curl("-x", f"http://localhost:{port}", f"http://any.name/{number}")
                assert proxied.stdout.endswith(f"port {ask(port, f'/{number}')}\n")


def test_a_request_body_and_its_method_survive() -> None:
    body = "x" * 100_000
    with (
        echo_backends() as backends,
        balancer("--strategy", "hash", backends=[port_of(backends[0])]) as (_, port),
    ):
        for method in ("POST", "PUT"):
            answer = curl("-X", method, "--data-binary", body, f"http://127.0.0.1:{port}/echo")
            assert answer.stdout == body
        head = curl("--head", f"http://127.0.0.1:{port}/x")
        assert head.stdout.startswith("HTTP/1.1 200")


def test_no_backend_at_all_is_a_503_and_the_balancer_lives_on() -> None:
    with echo_backends() as backends:
        backend_port = kill(backends[0])
        flags = ("--strategy", "hash", "--log-format", "json")
        with balancer(*flags, backends=[backend_port]) as (lb, port):
            answer = curl("-i", f"http://127.0.0.1:{port}/x")
            head, _, body = answer.stdout.partition("\n\n")  # text mode: CRLF reads as LF
            assert head.startswith("HTTP/1.1 503 Service Unavailable\n")
            assert body.count("\n") == 1
            record = json.loads(lb.wait_for(r'"termination"')[0].string)
            assert record["termination"] == "SC"
            assert record["bytes_up"] == record["bytes_down"] == 0
            with echo_backends(ports=[backend_port]):
                assert ask(port, "/x") == str(backend_port)


def test_200_clients_against_60_file_descriptors_are_all_served() -> None:
    request = b"GET /x HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n"
    with (
        echo_backends("--delay", "50ms", ports=FOUR) as backends,
        balancer(
            backends=[port_of(backend) for backend in backends],
            wrapper=("prlimit", "--nofile=60:60"),
        ) as (lb, port),
        ExitStack() as stack,
    ):
        lb.wait_for(r"at most 14 connections at once")
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=WAIT))
            for _ in range(200)
        ]
        for client in clients:
            client.sendall(request)
        for client in clients:
            answer = b""
            with client:  # and makes room for the next one by closing
                while data := client.recv(4096):
                    answer += data
            assert b"Received request on server running on port" in answer
        lb.wait_for(r"max_connections reached \(14\)")
        lb.wait_for(r" -- ", count=200)
        assert "cannot accept" not in lb.output

"""Clients that wait for a backend with room, over several workers."""

from __future__ import annotations

import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.test_across_workers import counting_backends
from tests.processes import WAIT, Running, balancer, curl, echoed

pytestmark = pytest.mark.e2e

TWO = ("--workers", "2")


def client_of(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT)


def config_file(folder: Path, backends: list[int], limit: int, settings: str = "") -> str:
    file = folder / "tcplb.toml"
    listed = "".join(
        f'[[pools.web.backends]]\naddress = "127.0.0.1:{port}"\nmax_connections = {limit}\n'
        for port in backends
    )
    file.write_text(f"{settings}\n{listed}")
    return str(file)


def records(lb: Running) -> list[dict[str, object]]:
    return [json.loads(line) for line in lb.lines if '"attempts"' in line]


def stop(lb: Running) -> None:
    lb.signal(signal.SIGTERM)
    assert lb.wait() == 0
    assert "Traceback" not in lb.output


def test_never_more_than_two_at_the_backend_while_fifty_wait(tmp_path: Path) -> None:
    """Each worker has to find the room that the other one makes."""
    with counting_backends(1) as (backend,):
        settings = '[pools.web.queue]\ntimeout = "1m"'
        config = config_file(tmp_path, [backend.port], 2, settings)
        flags = (*TWO, "--config", config, "--log-format", "json")
        with balancer(*flags) as (lb, port):

            def visit(number: int) -> None:
                with client_of(port) as client:
                    echoed(client, b"\x01%d" % number)
                    client.shutdown(socket.SHUT_WR)
                    assert client.recv(1) == b""

            with ThreadPoolExecutor(50) as clients:
                list(clients.map(visit, range(150)))
            assert backend.most == 2
            assert backend.total == 150
            stop(lb)
        ended = records(lb)
    assert len(ended) == 150
    assert {record["termination"] for record in ended} == {"--"}
    assert any(int(str(record["queue_ms"])) > 0 for record in ended)


def test_the_queue_is_bounded_and_has_a_time_out(tmp_path: Path) -> None:
    with counting_backends(1) as (backend,), ExitStack() as stack:
        settings = (
            '[pools.web]\nstrategy = "hash"\nhash_key = "request"\n'
            '[pools.web.queue]\nsize = 1\ntimeout = "2s"'
        )
        config = config_file(tmp_path, [backend.port], 1, settings)
        with balancer("--config", config, "--log-format", "json") as (lb, port):
            holder = stack.enter_context(client_of(port))
            echoed(holder)
            waiting = stack.enter_context(client_of(port))
            waiting.sendall(b"GET /waits HTTP/1.1\r\n\r\n")
            refused = stack.enter_context(client_of(port))
            refused.sendall(b"\x01no room")
            with pytest.raises(ConnectionResetError):
                # Whichever of the two came first waits, and then it is told in its own language.
                refused.recv(1)
            assert waiting.recv(65536).startswith(b"HTTP/1.1 503 ")
            answer = curl("-w", "%{http_code}", "-o", "/dev/null", f"http://127.0.0.1:{port}/")
            assert answer.stdout == "503"
            holder.close()
            stop(lb)
        codes = {str(record["termination"]) for record in records(lb)}
    assert codes == {"PQ", "sQ", "--"}


def test_whoever_leaves_the_queue_is_logged_and_its_place_is_free(tmp_path: Path) -> None:
    with counting_backends(1) as (backend,), ExitStack() as stack:
        settings = '[pools.web.queue]\nsize = 1\ntimeout = "1m"'
        config = config_file(tmp_path, [backend.port], 1, settings)
        with balancer("--config", config, "--log-format", "json") as (lb, port):
            holder = stack.enter_context(client_of(port))
            echoed(holder)
            for number in range(1, 6):
                with client_of(port) as client:
                    client.sendall(b"\x01")
                lb.wait_for(r'"termination": "CQ"', count=number)
            last = stack.enter_context(client_of(port))
            holder.close()
            echoed(last)
            last.close()
            stop(lb)
        assert backend.total == 2


def test_drain_lets_those_who_wait_be_served(tmp_path: Path) -> None:
    with counting_backends(1) as (backend,), ExitStack() as stack:
        settings = '[pools.web.queue]\ntimeout = "1m"'
        config = config_file(tmp_path, [backend.port], 1, settings)
        with balancer("--config", config, "--log-format", "json") as (lb, port):
            holder = stack.enter_context(client_of(port))
            echoed(holder)
            others = [stack.enter_context(client_of(port)) for _ in range(5)]
            lb.signal(signal.SIGTERM)
            lb.wait_for(r"stopping: no new connections; the 6 open ones")
            holder.close()
            for other in others:
                other.sendall(b"\x01")
            for other in others:
                assert other.recv(1) == b"\x01"
                other.close()
            assert lb.wait() == 0
        assert {record["termination"] for record in records(lb)} == {"--"}
        assert len(records(lb)) == 6

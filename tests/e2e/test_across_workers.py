"""What holds over all workers: limits, least connections, ejections, whole lines in the logs."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.peers import RefusingPort
from tests.processes import (
    WAIT,
    Running,
    balancer,
    curl,
    echo_backends,
    echoed,
    eventually,
    port_of,
    visit,
)

pytestmark = pytest.mark.e2e

TWO = ("--workers", "2")


class Counting:
    """A backend that sends back what it gets, and counts who is there."""

    def __init__(self) -> None:
        self.open = 0
        self.most = 0
        self.total = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WAIT)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.open += 1
                self.total += 1
                self.most = max(self.most, self.open)
            thread = threading.Thread(target=self._echo, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _echo(self, client: socket.socket) -> None:
        with client:
            try:
                while data := client.recv(4096):
                    client.sendall(data)
            except OSError:
                pass
            with self._lock:  # before the balancer can know of the end
                self.open -= 1


@contextmanager
def counting_backends(number: int) -> Iterator[list[Counting]]:
    with ExitStack() as stack:
        backends = [Counting() for _ in range(number)]
        for backend in backends:
            stack.callback(backend.close)
        yield backends


def client_of(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT)


def stop(lb: Running) -> None:
    lb.signal(signal.SIGTERM)
    assert lb.wait() == 0
    assert "Traceback" not in lb.output


def test_max_connections_is_the_number_over_all_workers() -> None:
    flags = (*TWO, "--max-connections", "10", "--access-log", "none")
    with (
        counting_backends(1) as (backend,),
        balancer(*flags, backends=[backend.port]) as (lb, port),
        ExitStack() as stack,
    ):
        clients = {stack.enter_context(client_of(port)) for _ in range(60)}
        for client in clients:
            client.sendall(b"\x01")
        eventually(lambda: backend.open == 10)
        while clients:
            answered, _, _ = select.select(list(clients), [], [], WAIT)
            assert answered, "somebody waits in vain"
            for client in answered:
                assert client.recv(1) == b"\x01"
                clients.remove(client)
                client.close()
        assert backend.most == 10
        lb.wait_for(r"max_connections reached \(10\)")
        assert "in each worker" not in lb.output
        stop(lb)


def test_a_limit_that_workers_have_used_up_is_free_again_when_one_of_them_is_killed() -> None:
    flags = (*TWO, "--max-connections", "6", "--access-log", "none")
    with (
        counting_backends(1) as (backend,),
        balancer(*flags, backends=[backend.port]) as (lb, port),
        ExitStack() as stack,
    ):
        for _ in range(6):
            echoed(stack.enter_context(client_of(port)))
        for worker in lb.children():
            os.kill(worker, signal.SIGKILL)
        for _ in range(6):
            echoed(stack.enter_context(client_of(port)))


def test_max_connections_of_a_backend_is_the_number_over_all_workers() -> None:
    with counting_backends(2) as (small, large):
        flags = (*TWO, "--backend", f"127.0.0.1:{small.port},max_connections=3")
        with (
            balancer(*flags, "--access-log", "none", backends=[large.port]) as (_, port),
            ExitStack() as stack,
        ):
            clients = [stack.enter_context(client_of(port)) for _ in range(40)]
            for client in clients:
                echoed(client)
            assert (small.open, large.open) == (3, 37)
            assert small.most == 3


def test_least_connections_counts_those_of_all_workers() -> None:
    with counting_backends(3) as backends:
        flags = (*TWO, "--strategy", "least-connections", "--access-log", "none")
        with (
            balancer(*flags, backends=[backend.port for backend in backends]) as (_, port),
            ExitStack() as stack,
        ):
            for _ in range(24):
                echoed(stack.enter_context(client_of(port)))
                counts = [backend.open for backend in backends]
                assert max(counts) - min(counts) <= 1


@pytest.fixture
def one_dead(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A config with a backend that refuses and one that serves; and the former's name."""
    dead = RefusingPort()
    with echo_backends() as backends:
        file = tmp_path / "tcplb.toml"
        listed = "".join(
            f'[[pools.web.backends]]\naddress = "127.0.0.1:{port}"\n'
            for port in (dead.port, port_of(backends[0]))
        )
        file.write_text(f'[pools.web.eject]\nbase_time = "1h"\nmax_time = "1h"\n{listed}')
        yield file, f"127.0.0.1:{dead.port}"
    dead._socket.close()


def visits(lb: Running, port: int, number: int) -> list[int]:
    """Make connections, one after the other; return how many dials each one needed."""
    before = lb.output.count('"attempts"')
    for made in range(number):
        visit(port)
        lb.wait_for(r'"attempts"', count=before + made + 1)
    lines = [line for line in lb.lines if '"attempts"' in line]
    return [json.loads(line)["attempts"] for line in lines[before:]]


def test_an_ejection_by_one_worker_is_one_for_all(one_dead: tuple[Path, str]) -> None:
    config, dead = one_dead
    flags = (*TWO, "--config", str(config), "--log-format", "json")
    with balancer(*flags) as (lb, port):
        in_vain = 0
        while f"backend {dead} ejected for" not in lb.output:
            (attempts,) = visits(lb, port, 1)
            in_vain += attempts - 1
        assert visits(lb, port, 20) == [1] * 20
        # Three in a row by the one that ejected it, two at most by the other one.
        assert 3 <= in_vain <= 5
        (told,) = lb.wait_for(rf"backend {dead} ejected for")
        assert json.loads(told.string)["worker"] in {1, 2}
        stop(lb)


def test_a_worker_that_starts_knows_what_is_ejected(one_dead: tuple[Path, str]) -> None:
    config, dead = one_dead
    with balancer("--config", str(config), "--log-format", "json") as (lb, port):
        while f"backend {dead} ejected for" not in lb.output:
            visits(lb, port, 1)
        os.kill(lb.children()[0], signal.SIGKILL)
        assert visits(lb, port, 10) == [1] * 10
        assert lb.output.count("ejected for") == 1
        stop(lb)


def test_lines_longer_than_a_pipe_takes_at_once_stay_whole() -> None:
    """The access log of two workers on one pipe."""
    flags = (*TWO, "--strategy", "hash", "--hash-key", "request", "--log-format", "json")
    with (
        echo_backends() as backends,
        balancer(*flags, backends=[port_of(backends[0])]) as (
            lb,
            port,
        ),
    ):
        request = b"GET /%s HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n" % (b"x" * 7000)

        def ask(_: int) -> None:
            with client_of(port) as client:
                client.sendall(request)
                while client.recv(65536):
                    pass

        with ThreadPoolExecutor(8) as clients:
            list(clients.map(ask, range(400)))
        stop(lb)
    records = [json.loads(line) for line in lb.lines]
    assert sum("key" in record for record in records) == 400


def test_lines_of_several_workers_say_whose_they_are(one_dead: tuple[Path, str]) -> None:
    config, dead = one_dead
    with balancer("--config", str(config)) as (lb, port):
        for _ in range(8):
            assert curl(f"http://127.0.0.1:{port}/").returncode == 0
        lb.wait_for(rf"tcplb.health: pool web: backend {dead} ejected")  # there is but one
        stop(lb)
    with balancer(*TWO, "--config", str(config)) as (lb, port):
        for _ in range(12):
            assert curl(f"http://127.0.0.1:{port}/").returncode == 0
        lb.wait_for(rf"tcplb.health: worker [12]: pool web: backend {dead} ejected")
        stop(lb)

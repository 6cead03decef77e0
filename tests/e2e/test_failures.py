"""Backends that swallow packets, readers that stop reading."""

from __future__ import annotations

import hashlib
import json
import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.peers import Blackhole
from tests.processes import WAIT, balancer, curl, echo_backends, port_of, worker_of

pytestmark = pytest.mark.e2e

MIB = 1024 * 1024


@pytest.mark.parametrize("strategy", ["round-robin", "hash"])
def test_a_blackholed_backend_fails_nobody_and_is_not_waited_for_once_ejected(
    strategy: str,
) -> None:
    with Blackhole() as hole, echo_backends(ports=(0, 0, 0)) as backends:
        dead = hole.port
        ports = [dead, *(port_of(backend) for backend in backends)]
        flags = ("--strategy", strategy, "--connect-timeout", "500ms", "--log-format", "json")
        with balancer(*flags, backends=ports) as (lb, port):

            def ask(number: int) -> int:
                return curl(f"http://127.0.0.1:{port}/{number}").returncode

            with ThreadPoolExecutor(20) as clients:
                assert set(clients.map(ask, range(100))) == {0}
                line = lb.wait_for(rf"backend 127\.0\.0\.1:{dead} ejected for .* timed out")[0]
                ejected_at = json.loads(line.string)["time"]
                assert set(clients.map(ask, range(100, 300))) == {0}
            lines = [found.string for found in lb.wait_for(r'"attempts"', count=300)]
            later = [r for line in lines if (r := json.loads(line))["time"] > ejected_at]
            assert len(later) >= 200
            # A trial, if one came due, held its client for 100 ms; nobody waited 500 ms.
            trials = lb.output.count("its trial connect was")
            assert sum(record["attempts"] > 1 for record in later) <= 1 + trials


def memory_of(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


class Source:
    """A backend that sends `size` bytes as fast as they are taken, to each client."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.stalled = threading.Event()
        self._block = hashlib.sha256(b"tcplb").digest() * 2048  # 64 KiB
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def checksum(self) -> str:
        whole = hashlib.sha256()
        for _ in range(self.size // len(self._block)):
            whole.update(self._block)
        return whole.hexdigest()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(WAIT)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                client.setblocking(False)
                self._send_all(client)

    def _send_all(self, client: socket.socket) -> None:
        left = self.size
        while left:
            _, writable, _ = select.select([], [client], [], 1.0)
            if not writable:
                self.stalled.set()  # nothing was taken for a whole second
                continue
            left -= client.send(self._block[: min(left, len(self._block))])


def test_256_mib_to_a_slow_reader_are_not_kept_in_memory() -> None:
    source = Source(256 * MIB)
    with balancer("--access-log", "none", backends=[source.port]) as (lb, port):
        try:
            download(port, source)  # whatever is made once has been made
            source.stalled.clear()
            worker = worker_of(lb)
            before = memory_of(worker)
            grown = download(port, source, watch=lambda: memory_of(worker) - before)
        finally:
            source.close()
    assert grown <= MIB


def download(port: int, source: Source, watch: object = None) -> int:
    """Download all, first when nobody has read until everything is full; return the most grown."""
    whole = hashlib.sha256()
    grown = 0
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as client:
        assert source.stalled.wait(WAIT)
        while data := client.recv(MIB):
            whole.update(data)
            if callable(watch):
                grown = max(grown, watch())
    assert whole.hexdigest() == source.checksum()
    return grown

"""CPU time of the `streams` engine per unit of work, as a ratio to the naive balancer's.

Run it with ``python -m bench.streams``. All candidates do the same work against the same backend,
interleaved and repeated; the median counts, because the machine is noisy. The balancer has one
core, and the load and the backend share the other one.
"""

from __future__ import annotations

import os
import re
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import click

Address = tuple[str, int]
CLIENTS = 8
TIMEOUT = 20.0
"""Seconds after which a candidate that does not answer fails the run."""
REQUEST = b"GET /x HTTP/1.1\r\nHost: bench\r\n\r\n"
LAST_LINE = re.compile(rb"port \d+\n$")


def connect_once(address: Address) -> None:
    """Connect, one request, close."""
    with socket.create_connection(address, timeout=TIMEOUT) as client:
        _ask(client)


def _ask(client: socket.socket) -> None:
    client.sendall(REQUEST)
    answer = b""
    while not LAST_LINE.search(answer):
        answer += client.recv(4096)


def connections(address: Address, count: int) -> None:
    """Make `count` connections with one request each, `CLIENTS` at a time."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        for _ in clients.map(connect_once, [address] * count):
            pass


def requests(address: Address, count: int) -> None:
    """Send `count` requests over `CLIENTS` kept connections."""

    def keep_asking(number: int) -> None:
        with socket.create_connection(address, timeout=TIMEOUT) as client:
            for _ in range(number):
                _ask(client)

    with ThreadPoolExecutor(CLIENTS) as clients:
        for _ in clients.map(keep_asking, [count // CLIENTS] * CLIENTS):
            pass


def bulk(address: Address, megabytes: int) -> None:
    """Send `megabytes` of 10^6 bytes through an echo, and read them back."""
    block = b"\x00" * 1_000_000
    with (
        socket.create_connection(address, timeout=TIMEOUT) as client,
        ThreadPoolExecutor(1) as sender,
    ):

        def send() -> None:
            for _ in range(megabytes):
                client.sendall(block)
            client.shutdown(socket.SHUT_WR)

        sending = sender.submit(send)
        while client.recv(1 << 20):
            pass
        sending.result()


class Work:
    """One kind of work: how much of it is done, and what a unit is called."""

    def __init__(
        self, name: str, do: Callable[[Address, int], None], count: int, scale: float, unit: str
    ) -> None:
        self.name, self.do, self.count, self.scale, self.unit = name, do, count, scale, unit


WORK = (
    Work("connect, one request, close", connections, 3000, 1e6, "µs"),
    Work("request on a kept connection", requests, 16000, 1e6, "µs"),
    Work("bulk, both ways together", bulk, 400, 1e3 * 1000 / 2, "ms/GB"),
)


@contextmanager
def _process(*arguments: str, core: int, ready: str) -> Iterator[tuple[int, Address]]:
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        os.sched_setaffinity(process.pid, {core % (os.cpu_count() or 1)})
        assert process.stdout is not None
        for line in process.stdout:
            if match := re.search(ready + r" (\S+):(\d+)", line):
                yield process.pid, (match[1], int(match[2]))
                break
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _candidates(backend: int) -> dict[str, tuple[str, ...]]:
    serve = ("-m", "tcplb", "serve", "--listen", "127.0.0.1:0", "--engine", "streams")
    to = ("--backend", f"127.0.0.1:{backend}")
    return {
        "naive": ("-m", "bench.naive", str(backend)),
        "tcplb": (*serve, *to, "--access-log", "none"),
        "tcplb, access log": (*serve, *to, "--access-log", "/dev/null"),
        "tcplb, access log, hash": (*serve, *to, "--access-log", "/dev/null", "--strategy", "hash"),
    }


@click.command(help=__doc__)
@click.option("--rounds", default=5, show_default=True, help="Repetitions; the median counts.")
@click.option("--share", default=1.0, show_default=True, help="Part of the work to do.")
def main(rounds: int, share: float) -> None:
    """Run the comparison and print a table in Markdown."""
    os.sched_setaffinity(0, {1 % (os.cpu_count() or 1)})
    costs: dict[tuple[str, str], list[float]] = {}
    ready = r"^backend"
    with _process("-m", "echo_backends", "--ports", "0", core=1, ready=ready) as (_, backend):
        candidates = _candidates(backend[1])
        for _ in range(rounds):
            for name, command in candidates.items():
                with _process(*command, core=0, ready="listening on") as (pid, address):
                    for work in WORK:
                        count = max(CLIENTS, int(work.count * share))
                        before = _cpu_seconds(pid)
                        work.do(address, count)
                        cost = (_cpu_seconds(pid) - before) * work.scale / count
                        costs.setdefault((name, work.name), []).append(cost)
    _print(list(candidates), costs)


def _print(names: list[str], costs: dict[tuple[str, str], list[float]]) -> None:
    click.echo("| |" + "".join(f" {work.name} ({work.unit}) | ratio |" for work in WORK))
    click.echo("|---|" + "---|---|" * len(WORK))
    for name in names:
        cells = ""
        for work in WORK:
            base = statistics.median(costs["naive", work.name])
            measured = costs[name, work.name]
            median = statistics.median(measured)
            cells += f" {median:.0f} ({min(measured):.0f}–{max(measured):.0f}) |"
            cells += f" {median / base:.2f} |" if base else " – |"
        click.echo(f"| {name} |{cells}")


if __name__ == "__main__":
    main()

"""Active checks with real workers: what they find reaches all of them, and ends ejections."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_across_workers import counting_backends
from tests.processes import Running, balancer, eventually, visit

pytestmark = pytest.mark.e2e

QUICK = 'interval = "50ms"\nfast_interval = "20ms"\ntimeout = "2s"'


@contextmanager
def bound_port() -> Iterator[socket.socket]:
    """Hold a port that refuses connects until it listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def config_file(folder: Path, *backends: str) -> tuple[str, str]:
    """Return the flags for two backends or more that are checked, and ejected by one failure."""
    tables = "".join(f"[[pools.web.backends]]\n{backend}\n" for backend in backends)
    file = folder / "tcplb.toml"
    file.write_text(
        '[[listeners]]\nbind = "127.0.0.1:0"\npool = "web"\n'
        f"[pools.web.check]\n{QUICK}\n[pools.web.eject]\nfailures = 1\n{tables}"
    )
    return ("--config", str(file))


def stop(lb: Running) -> None:
    lb.signal(signal.SIGTERM)
    assert lb.wait() == 0
    assert "Traceback" not in lb.output


def test_all_workers_leave_out_who_is_down_and_take_it_back(tmp_path: Path) -> None:
    with counting_backends(2) as (one, other), bound_port() as checked:
        flags = config_file(
            tmp_path,
            f'name = "a"\naddress = "127.0.0.1:{one.port}"\ncheck_port = {port_of(checked)}',
            f'name = "b"\naddress = "127.0.0.1:{other.port}"',
        )
        with balancer("--workers", "2", *flags) as (lb, port):
            lb.wait_for(r"pool web: backend a is down: 3 checks in a row failed in .*refused")

            def visits_to_one() -> int:
                before = one.total
                for _ in range(20):
                    visit(port)
                return one.total - before

            # Connects to it would work: only what the checks say keeps clients away.
            eventually(lambda: visits_to_one() == 0)
            checked.listen(4096)
            lb.wait_for(r"pool web: backend a is up: 2 checks in a row passed")
            eventually(lambda: visits_to_one() > 0)
            stop(lb)


def test_a_check_that_passes_ends_an_ejection(tmp_path: Path) -> None:
    with counting_backends(1) as (other,), bound_port() as dead, bound_port() as checked:
        checked.listen(4096)
        flags = config_file(
            tmp_path,
            f'name = "a"\naddress = "127.0.0.1:{port_of(dead)}"\ncheck_port = {port_of(checked)}',
            f'name = "b"\naddress = "127.0.0.1:{other.port}"',
        )
        with balancer("--workers", "2", *flags) as (lb, port):
            # By 2 at the latest the turns of one of the workers come to it; nobody notices.
            for _ in range(4):
                visit(port)
            lb.wait_for(r"pool web: backend a ejected for .*: 1 connects in a row failed")
            lb.wait_for(r"pool web: backend a is back: its check passed")

            def ejections() -> int:
                visit(port)
                return lb.output.count("pool web: backend a ejected for")

            # The workers have heard of it: they send clients there again, and find it dead again.
            eventually(lambda: ejections() >= 2)
            stop(lb)


def test_a_backup_is_used_while_the_checks_say_that_the_others_are_down(tmp_path: Path) -> None:
    with counting_backends(2) as (first, spare), bound_port() as checked, bound_port() as fine:
        checked.listen(4096)
        fine.listen(4096)  # the spare's checks go there: what comes to itself are clients
        flags = config_file(
            tmp_path,
            f'name = "a"\naddress = "127.0.0.1:{first.port}"\ncheck_port = {port_of(checked)}',
            f'name = "spare"\naddress = "127.0.0.1:{spare.port}"\nbackup = true\n'
            f"check_port = {port_of(fine)}",
        )
        with balancer(*flags) as (lb, port):
            for _ in range(10):
                visit(port)
            assert (first.total, spare.total) == (10, 0)
            checked.close()
            lb.wait_for(r"pool web: backend a is down")

            def goes_to_the_spare() -> bool:
                before = spare.total
                visit(port)
                return spare.total > before

            eventually(goes_to_the_spare)
            stop(lb)

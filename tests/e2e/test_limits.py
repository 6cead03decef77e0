"""The limits of a listener, over several workers and from a config file."""

from __future__ import annotations

import json
import select
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.test_across_workers import counting_backends
from tests.processes import WAIT, Running, balancer, echoed, eventually

pytestmark = pytest.mark.e2e

TWO = ("--workers", "2")


def client_of(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT, source_address=(source, 0))


def config_file(folder: Path, backend: int, listener: str) -> str:
    file = folder / "tcplb.toml"
    file.write_text(
        f'[[listeners]]\nname = "web"\nbind = "127.0.0.1:0"\npool = "web"\n{listener}\n'
        f'[[pools.web.backends]]\naddress = "127.0.0.1:{backend}"\n'
    )
    return str(file)


def serve(config: str, *flags: str) -> tuple[str, ...]:
    return ("--config", config, "--log-format", "json", *flags)


def is_refused(port: int, source: str) -> bool:
    try:
        with client_of(port, source) as client:
            echoed(client)
    except ConnectionError:  # perhaps before the connect has returned
        return True
    return False


def records(lb: Running, code: str) -> list[dict[str, object]]:
    found = [json.loads(line) for line in lb.lines if '"termination"' in line]
    return [record for record in found if record["termination"] == code]


def stop(lb: Running) -> None:
    lb.signal(signal.SIGTERM)
    assert lb.wait() == 0
    assert "Traceback" not in lb.output


def test_max_connections_of_a_listener_is_exact_over_all_workers(tmp_path: Path) -> None:
    with counting_backends(1) as (backend,), ExitStack() as stack:
        config = config_file(tmp_path, backend.port, "max_connections = 7")
        with balancer(*TWO, "--config", config, "--access-log", "none") as (lb, port):
            clients = {stack.enter_context(client_of(port)) for _ in range(60)}
            for client in clients:
                client.sendall(b"\x01")
            eventually(lambda: backend.open == 7)
            while clients:
                answered, _, _ = select.select(list(clients), [], [], WAIT)
                assert answered, "somebody waits in vain"
                for client in answered:
                    assert client.recv(1) == b"\x01"
                    clients.remove(client)
                    client.close()
            assert backend.most == 7
            assert backend.total == 60
            lb.wait_for(r"listener web: max_connections reached \(7\)")
            stop(lb)


def test_access_rules_of_the_config_file(tmp_path: Path) -> None:
    rules = 'access = ["allow 127.0.0.1", "deny 127.0.0.0/28", "allow all"]'
    with counting_backends(1) as (backend,):
        config = config_file(tmp_path, backend.port, rules)
        with balancer(*TWO, *serve(config)) as (lb, port):
            for source, refused in (
                ("127.0.0.1", False),
                ("127.0.0.2", True),
                ("127.0.0.15", True),
                ("127.0.0.16", False),
            ):
                assert is_refused(port, source) is refused, source
            stop(lb)
        denied = records(lb, "PR")
        assert sorted(str(each["client"]).split(":")[0] for each in denied) == [
            "127.0.0.15",
            "127.0.0.2",
        ]
        assert all(each["backend"] is None for each in denied)
        assert len(records(lb, "--")) == backend.total == 2


def test_clients_that_connect_too_fast_are_refused(tmp_path: Path) -> None:
    rate = "[listeners.per_client]\nmax_new_per_second = 1\nburst = 5"
    with counting_backends(1) as (backend,):
        config = config_file(tmp_path, backend.port, rate)
        with balancer(*serve(config)) as (lb, port):
            refused = sum(is_refused(port, "127.0.0.1") for _ in range(100))
            assert not is_refused(port, "127.0.0.2")
            stop(lb)
        # Five at once, and one a second from then on; how many seconds it took is not known.
        assert 0 < refused <= 95
        told = records(lb, "PR")
        assert len(told) == refused
        assert {str(each["client"]).split(":")[0] for each in told} == {"127.0.0.1"}
        assert all("per_client" in str(each["reason"]) for each in told)
        assert backend.total == 101 - refused

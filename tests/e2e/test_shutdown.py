"""SIGTERM, SIGINT, and what happens to the connections that are open."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack

import pytest

from tests.processes import WAIT, balancer, echo_backends, port_of, worker_of

pytestmark = pytest.mark.e2e

STOP_SIGNALS = [signal.SIGTERM, signal.SIGINT]


def talking_client(port: int) -> socket.socket:
    """Return a client that has exchanged bytes with a backend through the balancer."""
    client = socket.create_connection(("127.0.0.1", port), timeout=WAIT)
    client.sendall(b"\x01hello")
    assert client.recv(100) == b"\x01hello"
    return client


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stop_signal_without_connections_ends_at_once_with_0(number: signal.Signals) -> None:
    with echo_backends() as backends, balancer(backends=[port_of(backends[0])]) as (lb, _):
        lb.signal(number)
        assert lb.wait() == 0
        assert "Traceback" not in lb.output


def test_sighup_without_a_file_ends_nothing() -> None:
    with (
        echo_backends() as backends,
        balancer(backends=[port_of(backends[0])]) as (lb, port),
        talking_client(port) as client,
    ):
        lb.signal(signal.SIGHUP)
        lb.wait_for(r"there is no file to reload: tcplb was started without one")
        client.sendall(b"still here")
        assert client.recv(100) == b"still here"


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_open_connections_may_finish_and_new_ones_are_refused(number: signal.Signals) -> None:
    with echo_backends() as backends, balancer(backends=[port_of(backends[0])]) as (lb, port):
        with talking_client(port) as client:
            lb.signal(number)
            lb.wait_for(r"stopping: no new connections; the 1 open ones")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=WAIT)
            client.sendall(b"still here")
            assert client.recv(100) == b"still here"
        assert lb.wait() == 0
        lb.wait_for(r" -- 1/1/1/1/0 ")


def test_connections_left_after_the_drain_timeout_are_closed_and_counted() -> None:
    with (
        echo_backends() as backends,
        balancer("--drain-timeout", "200ms", backends=[port_of(backends[0])]) as (lb, port),
        talking_client(port) as one,
        talking_client(port) as two,
    ):
        lb.signal(signal.SIGTERM)
        assert lb.wait() == 5
        lb.wait_for(r"closed 2 connections that were still open after 0\.2 s")
        lb.wait_for(r" KD ", count=2)
        for client in (one, two):
            with pytest.raises(ConnectionResetError):
                client.recv(100)


def test_a_second_signal_forces_the_end() -> None:
    with (
        echo_backends() as backends,
        balancer("--drain-timeout", "1h", backends=[port_of(backends[0])]) as (lb, port),
        talking_client(port),
    ):
        lb.signal(signal.SIGINT)
        lb.wait_for(r"stopping")
        lb.signal(signal.SIGINT)
        assert lb.wait() == 5
        lb.wait_for(r"closed 1 connections that were still open on a second signal")


def test_clients_waiting_in_the_backlog_at_the_signal_are_still_served() -> None:
    """Their handshake is done: the kernel has told them that they are connected."""
    with (
        echo_backends() as backends,
        balancer(backends=[port_of(backends[0])]) as (lb, port),
        ExitStack() as stack,
    ):
        worker = worker_of(lb)
        os.kill(worker, signal.SIGSTOP)
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=WAIT))
            for _ in range(1000)
        ]
        lb.signal(signal.SIGTERM)
        os.kill(worker, signal.SIGCONT)
        for client in clients:
            with client:
                client.sendall(b"\x01me too")
                assert client.recv(100) == b"\x01me too"
        assert lb.wait() == 0

"""Connecting to a backend, and whose fault it is when that fails."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from tcplb.dataplane.dial import (
    connect,
    connect_error,
    connected_to_itself,
    known_target,
    outcome_of,
)
from tcplb.dataplane.engine import Engine
from tcplb.policy.backend import Backend
from tcplb.policy.outcome import Outcome
from tests.dataplane.harness import backend, within
from tests.peers import PATIENCE, Net, eventually


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Outcome.REFUSED),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Outcome.REFUSED),
        (TimeoutError(errno.ETIMEDOUT, "timed out"), Outcome.TIMED_OUT),
        (TimeoutError(), Outcome.TIMED_OUT),
        (OSError(errno.EHOSTUNREACH, "no route"), Outcome.UNREACHABLE),
        (OSError(errno.ENETUNREACH, "no route"), Outcome.UNREACHABLE),
        (PermissionError(errno.EPERM, "firewall"), Outcome.UNREACHABLE),
        (OSError("without a number"), Outcome.UNREACHABLE),
        (socket.gaierror(socket.EAI_NONAME, "unknown name"), Outcome.UNRESOLVED),
        # Numbers of getaddrinfo's errors are not those of the kernel: this one equals -11.
        (socket.gaierror(errno.EAGAIN, "not EAGAIN"), Outcome.UNRESOLVED),
        (OSError(errno.EMFILE, "too many files"), Outcome.NO_RESOURCES),
        (OSError(errno.ENFILE, "too many files"), Outcome.NO_RESOURCES),
        (OSError(errno.ENOBUFS, "no buffers"), Outcome.NO_RESOURCES),
        (OSError(errno.ENOMEM, "no memory"), Outcome.NO_RESOURCES),
        (OSError(errno.EADDRNOTAVAIL, "no ports"), Outcome.NO_RESOURCES),
        (BlockingIOError(errno.EAGAIN, "no ports"), Outcome.NO_RESOURCES),
    ],
)
def test_outcome_of_an_error(error: OSError, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome


@pytest.mark.parametrize(
    "outcome", [Outcome.NO_RESOURCES, Outcome.ABANDONED, Outcome.CONNECTED], ids=lambda o: o.name
)
def test_what_is_not_the_backends_fault(outcome: Outcome) -> None:
    assert not outcome.blames_backend


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_connects_to_an_address(net: Net, host: str) -> None:
    server = net.server(host)
    sock = await connect(backend(server))
    peer = await server.accept()
    with sock:
        assert sock.gettimeout() == 0
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockname()[:2] == peer.sock.getpeername()[:2]


async def test_connects_to_a_name(net: Net) -> None:
    server = net.server()
    (await connect(Backend("b1", "localhost", server.port))).close()
    await server.accept()


async def test_refused_by_every_address_of_a_name(net: Net) -> None:
    port = net.refusing()
    with pytest.raises(ConnectionRefusedError):
        await connect(Backend("b1", "localhost", port.port))


@pytest.mark.parametrize(
    "host", ["no-such-host.invalid", "two..dots.invalid", "a" * 64 + ".invalid", "sp ace.invalid"]
)
async def test_name_that_cannot_be_resolved(net: Net, engine: Engine, host: str) -> None:
    result = await within(engine, engine.dial(Backend("b1", host, 80), PATIENCE))
    assert result is Outcome.UNRESOLVED


async def test_refused(net: Net, engine: Engine) -> None:
    assert await within(engine, engine.dial(backend(net.refusing()), PATIENCE)) is Outcome.REFUSED


async def test_blackholed(net: Net, engine: Engine) -> None:
    assert await within(engine, engine.dial(backend(net.blackhole()), 0.2)) is Outcome.TIMED_OUT


async def test_dial_that_is_cancelled_leaves_no_descriptor(net: Net, engine: Engine) -> None:
    """(The `net` fixture counts them.)"""
    dial = asyncio.create_task(within(engine, engine.dial(backend(net.blackhole()), PATIENCE)))
    sent_syn = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, sent_syn.set)
    await sent_syn.wait()
    dial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dial


async def test_dial_on_trial_that_ends_in_time(net: Net, engine: Engine) -> None:
    told: list[object] = []
    port = backend(net.refusing())
    refused = await within(
        engine, engine.dial_on_trial(port, PATIENCE, patience=PATIENCE, late=told.append)
    )
    assert refused is Outcome.REFUSED
    assert told == []


async def test_shutdown_gives_up_late_dials(net: Net, engine: Engine) -> None:
    told: list[object] = []
    hole = backend(net.blackhole())
    trial = engine.dial_on_trial(hole, PATIENCE, patience=0.05, late=told.append)
    assert await within(engine, trial) is None
    await engine.shutdown()
    await eventually(lambda: told == [Outcome.ABANDONED])


async def test_connected_to_itself_counts_as_refused() -> None:
    """The kernel does this to one dial in thousands of a dead local port; here it is asked to."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())
        target = known_target(*sock.getsockname())
        assert target is not None
        assert connected_to_itself(sock, target)
        assert isinstance(connect_error(0), ConnectionRefusedError)


async def test_connected_to_somebody_else_from_a_port_of_its_own(net: Net) -> None:
    server = net.server()
    with await connect(backend(server)) as sock:
        target = known_target(server.host, server.port)
        assert target is not None
        assert not connected_to_itself(sock, target)

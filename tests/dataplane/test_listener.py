"""Accepting: never more than the limit, and nobody dropped."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from tcplb.dataplane.counters import Counters
from tcplb.dataplane.gate import Gate
from tcplb.dataplane.listener import ACCEPTS_PER_WAKEUP, Accepted, Listener
from tcplb.policy.rate import Rate, TokenBucket
from tests.dataplane.harness import MakeBalancer, backend, no_descriptors_left
from tests.peers import Net, Peer, eventually


async def test_at_the_limit_the_next_client_waits_and_is_served_when_one_leaves(
    net: Net, balancer: MakeBalancer, caplog: pytest.LogCaptureFixture
) -> None:
    server = net.server()
    lb = balancer(backend(server), max_connections=2)
    first = await lb.pair(net, server)
    second = await lb.pair(net, server)
    waiting = [await net.client(lb.address) for _ in range(3)]  # the kernel lets them in
    for number, client in enumerate(waiting):
        await client.send(b"%d" % number)
    await eventually(lambda: lb.counters.pauses >= 1)
    assert lb.counters.accepted == lb.plane.open_sessions == 2

    for leaving, expected in ((first, b"0"), (second, b"1")):
        for peer in leaving:
            peer.close()
        upstream = await server.accept()
        assert await upstream.receive(1) == expected
    assert lb.counters.accepted == 4
    assert lb.plane.open_sessions == 2
    waiting[0].reset()
    upstream = await server.accept()
    assert await upstream.receive(1) == b"2"
    message = "max_connections reached (2): accepting pauses, clients wait in the backlog"
    assert set(caplog.messages) == {message}


async def test_many_clients_against_a_small_limit(net: Net, balancer: MakeBalancer) -> None:
    async def answer(peer: Peer) -> None:
        await peer.receive(4)
        await peer.send(b"done")

    lb = balancer(backend(net.server().serve(answer)), max_connections=7)
    clients = [await net.client(lb.address) for _ in range(200)]
    for client in clients:
        await client.send(b"work")
        client.fin()
    for client in clients:
        assert await client.until_end() == (b"done", "fin")
    for _ in clients:
        assert (await lb.record()).active.process <= 7


async def test_flood_of_more_than_one_wake_up_takes(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server))
    clients = [Peer(socket.create_connection(lb.address)) for _ in range(2 * ACCEPTS_PER_WAKEUP)]
    for _ in clients:
        await server.accept()
    assert lb.counters.accepted == len(clients)
    for client in clients:
        client.reset()


async def test_stop_accepts_what_is_queued_and_then_closes(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    queued = [Peer(socket.create_connection(lb.address)) for _ in range(5)]  # no await
    lb.plane.stop_listening()
    lb.plane.stop_listening()  # once more does nothing
    assert lb.counters.accepted == 5
    with pytest.raises(ConnectionRefusedError):
        await net.client(lb.address)
    for client in queued:
        await client.send(b"served")
        upstream = await server.accept()
        assert await upstream.receive(6) == b"served"
        client.reset()
    await lb.plane.wait_empty()


async def test_stop_at_the_limit_takes_nobody_over_it(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server), max_connections=1)
    client, upstream = await lb.pair(net, server)
    one_too_many = await net.client(lb.address)
    lb.plane.stop_listening()
    assert await one_too_many.ending() == "reset"
    client.close()  # which wakes a listener that is closed
    upstream.close()
    await lb.plane.wait_empty()
    assert lb.counters.accepted == 1


async def test_want_of_descriptors_pauses_accepting_and_drops_nobody(
    net: Net, balancer: MakeBalancer, caplog: pytest.LogCaptureFixture
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    clients = [Peer(socket.socket()) for _ in range(5)]
    with no_descriptors_left():
        for number, client in enumerate(clients):
            client.sock.setblocking(True)
            client.sock.connect(lb.address)
            client.sock.setblocking(False)
            await client.send(b"%d" % number)
        await eventually(lambda: lb.counters.accept_failures >= 2)  # it tries again and again
        assert lb.counters.accepted == 0
    for number, client in enumerate(clients):
        upstream = await server.accept()
        assert await upstream.receive(1) == b"%d" % number
        client.reset()
    assert lb.counters.accepted == 5
    complaints = [entry for entry in caplog.records if entry.levelno == logging.ERROR]
    assert complaints[0].getMessage() == (
        "cannot accept: Too many open files; clients wait in the backlog"
    )


class MoodySocket(socket.socket):
    """A listening socket whose first accepts fail."""

    moods: Sequence[int] = ()

    def _accept(self) -> Any:
        if self.moods:
            mood, self.moods = self.moods[0], self.moods[1:]
            raise OSError(mood, errno.errorcode[mood])
        return super()._accept()  # type: ignore[misc]  # see Listener


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO])
async def test_client_that_has_left_the_queue_is_passed_over(net: Net, number: int) -> None:
    await _accepts_in_spite_of(net, (number, number), failures=0)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_every_want_of_resources_is_waited_out(net: Net, number: int) -> None:
    await _accepts_in_spite_of(net, (number, number), failures=2)


async def _accepts_in_spite_of(net: Net, moods: tuple[int, ...], *, failures: int) -> None:
    listening = MoodySocket()
    listening.setblocking(False)
    listening.bind(("127.0.0.1", 0))
    listening.listen(10)
    listening.moods = moods
    counters = Counters()
    accepted: list[socket.SocketType] = []
    gate = Gate(2, counters, lambda: 0.0)
    bucket = TokenBucket(Rate(per_second=1, burst=1))

    def take(sock: socket.SocketType, _: object) -> bool:
        accepted.append(sock)
        return True

    listener = Listener(listening, gate, counters, take, rate=bucket, clock=lambda: 0.0)
    listener.start()
    client = await net.client(listening.getsockname())
    await eventually(lambda: len(accepted) == 1)
    assert accepted[0].getpeername() == client.sock.getsockname()
    assert accepted[0].gettimeout() == 0
    assert counters.accept_failures == failures
    listener.stop()
    accepted[0].close()
    # The failures have used up nothing: there is room for one more, and there was for this one.
    assert not bucket.try_take(0.0)
    assert counters.pauses == 0
    assert gate.try_enter(listener.start)
    assert not gate.try_enter(listener.start)


async def test_a_socket_that_can_accept_no_more_does_not_hold_up_the_stop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counters = Counters()
    dead = socket.create_server(("127.0.0.1", 0))
    dead.setblocking(False)
    dead.shutdown(socket.SHUT_RDWR)  # accept fails with EINVAL from now on, each time
    listener = Listener(dead, Gate(10, counters, lambda: 0.0), counters, lambda *accepted: True)
    listener.stop()
    assert dead.fileno() == -1
    assert counters.accept_failures == 1
    assert caplog.messages == ["cannot accept: Invalid argument; clients wait in the backlog"]


# -- the rate -------------------------------------------------------------------------------------


class Clock:
    """A clock that stands still until it is told to go on; timers are the loop's own."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Door:
    """A listening socket with a rate, and whom it has let in."""

    def __init__(self, rate: Rate, gate: Gate, *, welcome: bool = True) -> None:
        self.clock = Clock()
        self.counters = Counters()
        self.bucket = TokenBucket(rate)
        self.inside: list[socket.SocketType] = []
        self.refused = 0
        self.welcome = welcome
        self.gate = gate
        sock = socket.create_server(("127.0.0.1", 0), backlog=100)
        sock.setblocking(False)
        self.address = sock.getsockname()
        take: Accepted = self._take
        self.listener = Listener(
            sock,
            gate,
            self.counters,
            take,
            name="listener web",
            rate=self.bucket,
            clock=self.clock,
        )

    def _take(self, sock: socket.SocketType, _: object) -> bool:
        if not self.welcome:
            self.refused += 1
            sock.close()
            return False
        self.inside.append(sock)
        return True

    def tokens(self) -> int:
        """Take all that are left, and say how many there were."""
        count = 0
        while self.bucket.try_take(self.clock.now):
            count += 1
        return count

    def close(self) -> None:
        self.listener.stop()
        for sock in self.inside:
            sock.close()


def wide_gate(limit: int = 100) -> Gate:
    return Gate(limit, Counters(), lambda: 0.0)


async def test_a_rate_makes_clients_wait_and_refuses_nobody(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    door = Door(Rate(per_second=100, burst=2), wide_gate())
    for _ in range(5):
        await net.client(door.address)
    door.listener.start()
    await eventually(lambda: bool(caplog.messages))
    assert len(door.inside) == 2  # and no more while the clock stands still
    door.clock.now += 0.01
    await eventually(lambda: len(door.inside) == 3)
    door.clock.now += 1.0
    await eventually(lambda: len(door.inside) == 5)
    assert door.counters.pauses == 0  # it is not the gate's
    assert door.tokens() == 0
    assert set(caplog.messages) == {
        "listener web: max_new_per_second reached (100): accepting is delayed, "
        "clients wait in the backlog"
    }
    assert len(caplog.messages) <= 2  # at most one a second of the clock
    door.close()


async def test_only_connections_use_tokens(net: Net) -> None:
    door = Door(Rate(per_second=1, burst=9), wide_gate())
    for _ in range(3):
        await net.client(door.address)
    door.listener.start()
    await eventually(lambda: len(door.inside) == 3)
    await net.client(door.address)
    await eventually(lambda: len(door.inside) == 4)
    assert door.tokens() == 5
    door.close()


async def test_a_full_gate_costs_no_token(net: Net) -> None:
    door = Door(Rate(per_second=1, burst=9), gate := wide_gate(1))
    for _ in range(3):
        await net.client(door.address)
    door.listener.start()
    await eventually(lambda: len(door.inside) == 1)
    gate.leave()
    await eventually(lambda: len(door.inside) == 2)
    assert door.tokens() == 7
    door.close()


async def test_want_of_a_token_costs_no_place(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    door = Door(Rate(per_second=100, burst=1), gate := wide_gate(3))
    for _ in range(2):
        await net.client(door.address)
    door.listener.start()
    await eventually(lambda: bool(caplog.messages))
    assert [gate.try_enter(lambda: None) for _ in range(3)] == [True, True, False]
    door.close()


async def test_whoever_is_refused_leaves_place_and_token(net: Net) -> None:
    door = Door(Rate(per_second=1, burst=2), gate := wide_gate(1), welcome=False)
    for _ in range(5):
        await net.client(door.address)
    door.listener.start()
    await eventually(lambda: door.refused == 5)
    assert door.counters.accepted == 5
    assert gate.try_enter(lambda: None)
    assert door.tokens() == 2
    door.close()


async def test_stop_accepts_what_is_queued_at_any_rate(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    door = Door(Rate(per_second=1, burst=1), wide_gate())
    for _ in range(5):
        await net.client(door.address)
    door.listener.start()
    await eventually(lambda: bool(caplog.messages))
    door.listener.stop()
    assert len(door.inside) == 5
    door.close()

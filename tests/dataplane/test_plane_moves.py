"""Listeners that are moved to another frontend, or closed, while there are sessions and clients."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import Any

import pytest

from tcplb.dataplane.admission import Admission
from tcplb.dataplane.engine import Timeouts
from tcplb.dataplane.frontend import Frontend
from tcplb.dataplane.listener import Listener
from tcplb.policy.access_list import AccessList, parse_access_rule
from tcplb.policy.rate import Rate, TokenBucket
from tcplb.policy.roster import Roster
from tests.dataplane.harness import PATIENT, Balancer, MakeBalancer, backend
from tests.peers import Address, Net, Peer, eventually, greet


class Moving:
    """A listener of a balancer, beside its first one."""

    def __init__(self, lb: Balancer, admission: Admission | None = None) -> None:
        self.lb = lb
        self.frontend = replace(lb.frontend, admission=admission or Admission())
        sock = socket.create_server(("127.0.0.1", 0), backlog=100)
        sock.setblocking(False)
        self.address: Address = sock.getsockname()[:2]
        self.listener: Listener = lb.plane.listen(sock, self.frontend)

    def move(self, **changes: Any) -> Frontend:
        """Let what is accepted from now on have a frontend with these changes."""
        before = self.frontend
        self.frontend = replace(before, active=0, before=before, **changes)
        self.lb.plane.keep([self.lb.frontend, self.frontend], 10_000, None)
        self.lb.plane.move(self.listener, self.frontend)
        return self.frontend


async def test_sessions_before_and_after_have_their_own_frontend(
    net: Net, balancer: MakeBalancer
) -> None:
    one, other = net.server(), net.server()
    lb, second = balancer(backend(one)), balancer(backend(other, "b2"))
    moving = Moving(lb)
    old = await net.client(moving.address), await one.accept()
    before = moving.frontend
    after = moving.move(
        name="renamed", pool=second.pool, shared_queue=second.frontend.queue, timeouts=PATIENT
    )
    new = await net.client(moving.address), await other.accept()
    assert (before.active, after.active, after.all_active) == (1, 1, 2)
    for client, upstream in (old, new):
        await client.send(b"hello")
        assert await upstream.receive(5) == b"hello"
        client.close()
        upstream.close()
    records = [await lb.record(), await lb.record()]
    assert sorted(record.listener for record in records) == ["front", "renamed"]
    assert sorted(record.backend or "" for record in records) == ["b1", "b2"]
    assert after.all_active == 0
    after.drop_ended()
    assert after.before is None


async def test_other_time_outs_are_those_of_new_sessions(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server))
    moving = Moving(lb)
    client, upstream = await net.client(moving.address), await server.accept()
    moving.move(timeouts=Timeouts(idle=0.05))
    short = await net.client(moving.address)
    await server.accept()
    assert await short.ending() == "fin"
    await client.send(b"still here")
    assert await upstream.receive(10) == b"still here"


async def test_a_listener_that_has_paused_goes_on_by_the_new_limit(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    moving = Moving(lb, Admission(max_connections=1))
    first = await net.client(moving.address), await server.accept()
    waiting = await net.client(moving.address)
    await waiting.send(b"second")
    await eventually(lambda: lb.counters.pauses == 1)
    moving.move(admission=Admission(max_connections=5))
    assert await (await server.accept()).receive(6) == b"second"
    for peer in first:
        peer.close()  # which leaves by the gate that it came in by
    await lb.record()
    assert moving.frontend.all_active == 1


async def test_a_limit_that_stays_counts_on(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server))
    moving = Moving(lb, Admission(max_connections=1))
    await net.client(moving.address)
    await server.accept()
    lb.plane.keep([lb.frontend, moving.frontend], 10_000, None)
    lb.plane.move(moving.listener, moving.frontend)
    before = lb.counters.pauses
    await net.client(moving.address)
    await eventually(lambda: lb.counters.pauses > before)
    assert moving.frontend.active == 1


async def test_a_listener_that_waits_for_its_rate_goes_on_without_it(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server), clock=lambda: 1000.0)
    moving = Moving(lb, Admission(rate=TokenBucket(Rate(per_second=1, burst=1))))
    clients = [await net.client(moving.address) for _ in range(3)]
    for client in clients:
        await client.send(b"x")
    await server.accept()
    assert lb.counters.accepted == 1
    moving.move(admission=Admission())
    for _ in range(2):
        assert await (await server.accept()).receive(1) == b"x"


async def test_other_rules_of_access_hold_for_the_next_client(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server().serve(greet("b1"))
    lb = balancer(backend(server))
    moving = Moving(lb)
    client = await net.client(moving.address)
    assert await client.receive(2) == b"b1"
    deny = AccessList([parse_access_rule("deny all")])
    moving.move(admission=Admission(access=deny))
    assert await (await net.client(moving.address)).ending() == "reset"
    await client.send(b"x")
    client.fin()
    assert await client.ending() == "fin"


async def test_who_waits_is_served_when_a_listener_is_closed(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    moving = Moving(lb)
    sockets = [socket.create_connection(moving.address, 20) for _ in range(20)]
    clients = [Peer(sock) for sock in sockets]  # all this without an await: none is accepted yet
    assert lb.counters.accepted == 0
    lb.plane.keep([lb.frontend], 10_000, None)
    lb.plane.close(moving.listener)
    # They count before their tasks begin: the frontend is in use.
    assert moving.frontend.active == 20
    for client in clients:
        await client.send(b"me too")
    for _ in clients:
        assert await (await server.accept()).receive(6) == b"me too"
    with pytest.raises(ConnectionRefusedError):
        await net.client(moving.address)
    assert moving.frontend.active == 20
    for client in clients:
        client.close()
    await lb.pair(net, server)  # the other listener is as it was


async def test_who_waits_is_left_to_others_when_a_socket_is_handed_back(
    net: Net, balancer: MakeBalancer
) -> None:
    lb = balancer(backend(net.server()))
    with socket.create_server(("127.0.0.1", 0)) as kept:
        copy = kept.dup()
        copy.setblocking(False)
        listener = lb.plane.listen(copy, lb.frontend)
        waiting = socket.create_connection(kept.getsockname(), 20)
        lb.plane.hand_back(listener)
        await asyncio.sleep(0)
        with waiting, kept.accept()[0] as accepted:
            accepted.sendall(b"by another one")
            assert waiting.recv(100) == b"by another one"
    assert lb.counters.accepted == 0
    lb.plane.move(listener, lb.frontend)  # it is closed, and stays so
    lb.plane.close(listener)


async def test_all_sessions_are_known_by_their_numbers(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server))
    moving = Moving(lb)
    pairs = [await lb.pair(net, server)]
    moving.move(name="renamed")
    pairs += [(await net.client(moving.address), await server.accept())]
    sessions = lb.plane.sessions
    assert [session.number for session in sessions.values()] == list(sessions) == [1, 2]
    assert [session.frontend.name for session in sessions.values()] == ["front", "renamed"]
    sessions[1].cancel()
    assert await pairs[0][0].ending() == "reset"
    await eventually(lambda: list(sessions) == [2])


async def test_the_limit_of_all_is_another(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server), max_connections=1)
    first = await lb.pair(net, server)
    waiting = await net.client(lb.address)
    await waiting.send(b"x")
    await eventually(lambda: lb.counters.pauses >= 1)
    lb.plane.keep([lb.frontend], 2, None)
    await (await server.accept()).receive(1)
    lb.plane.keep([lb.frontend], 1, None)
    for peer in first:
        peer.close()
    await lb.record()
    before = lb.counters.pauses
    await net.client(lb.address)  # who waits now, for the one who is in
    await eventually(lambda: lb.counters.pauses > before)
    assert lb.plane.open_sessions == 1


async def test_a_session_outlives_its_backend(net: Net, balancer: MakeBalancer) -> None:
    """It ends in good order: with a record, and with its lease given back."""
    server, other = net.server(), net.server()
    lb = balancer(backend(server), backend(other, "b2"))
    old = (await net.client(lb.address), await server.accept())
    make = lb.pool._roster.make  # the same strategy
    lb.pool.update(Roster((backend(other, "b2"),), make, {}, [1]), lb.pool.rules, now=0.0)
    for _ in range(3):
        await net.client(lb.address)
        await other.accept()
    for peer in old:
        peer.close()
    left = await lb.record()
    assert left.backend == "b1"
    assert left.termination.code == "--"
    assert left.active.backend == 1
    assert lb.pool.active_total == 3


def frontends(lb: Balancer, *active: int) -> list[Frontend]:
    """Return frontends of which each has replaced the one before it."""
    made: list[Frontend] = []
    for sessions in active:
        before = made[-1] if made else None
        made.append(replace(lb.frontend, before=before))
        made[-1].active = sessions
    return made


def line_of(last: Frontend) -> list[Frontend]:
    """Return a frontend and those that it knows before it."""
    return [last, *(line_of(last.before) if last.before else [])]


async def test_those_before_are_let_go_when_they_have_ended(balancer: MakeBalancer) -> None:
    lb = balancer()
    first, *middle, last = frontends(lb, 2, 0, 0, 3, 0, 1)
    assert last.all_active == 6
    last.drop_ended()
    assert line_of(last) == [last, middle[2], first]
    assert last.all_active == 6
    first.active = middle[2].active = 0
    last.drop_ended()
    assert line_of(last) == [last]
    many = frontends(lb, *[1] * 3000)
    assert many[-1].all_active == 3000
    many[-1].drop_ended()
    assert many[-1].all_active == 3000

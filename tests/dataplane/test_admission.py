"""Who is refused, who has to wait, and what is left of either."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tcplb.dataplane.admission import Admission
from tcplb.dataplane.record import Record
from tcplb.dataplane.termination import Termination
from tcplb.policy.access_list import AccessList, parse_access_rule
from tcplb.policy.rate import ClientRate, ClientRates, Rate, TokenBucket
from tests.dataplane.harness import Balancer, MakeBalancer, backend
from tests.peers import Address, Net, Peer, eventually


def access(*rules: str) -> AccessList:
    return AccessList([parse_access_rule(rule) for rule in rules])


def client_rates(burst: int) -> ClientRates:
    return ClientRates(ClientRate(Rate(1, burst)))


def listen(lb: Balancer, admission: Admission, host: str = "127.0.0.1") -> Address:
    """Let the balancer listen on one more port, for another frontend with these limits."""
    return lb.listen(host, frontend=replace(lb.frontend, admission=admission))


# -- the decision -------------------------------------------------------------------------------


def test_by_default_everybody_is_welcome_and_nobody_is_asked() -> None:
    admission = Admission()
    assert not admission.selective
    assert admission.refusal("10.0.0.1", 5.0) is None


def test_rules_and_rates_of_clients_are_asked_and_nothing_else() -> None:
    assert Admission(access("deny 10.0.0.0/8")).selective
    assert Admission(client_rates=client_rates(1)).selective
    assert not Admission(max_connections=5, rate=TokenBucket(Rate(1))).selective


def test_denied_clients_have_no_part_in_the_rates() -> None:
    rates = client_rates(1)
    admission = Admission(access("deny 10.0.0.1"), rates)
    assert admission.refusal("10.0.0.1", 5.0) is Termination.DENIED
    assert len(rates) == 0
    assert admission.refusal("10.0.0.2", 5.0) is None
    assert admission.refusal("10.0.0.2", 5.0) is Termination.TOO_FAST
    assert admission.refusal("10.0.0.2", 6.0) is None


# -- on the wire --------------------------------------------------------------------------------


async def test_a_denied_client_is_reset_counted_and_logged(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server), max_connections=1)
    address = listen(lb, Admission(access("deny 127.0.0.0/8")))
    for _ in range(3):  # with a single place, which each of them gives back
        client = await net.client(address)
        assert await client.ending() == "reset"
        record = await lb.record()
        assert record.termination is Termination.DENIED
    assert (record.client_host, record.client_port) == ("127.0.0.1", client.port)
    assert (record.listener, record.pool, record.backend) == ("front", "web", None)
    assert (record.queue_ms, record.connect_ms, record.bytes_up) == (-1, -1, 0)
    assert abs(record.accepted_at - time.time()) < 3600
    assert record.ended == record.began
    assert record.active[:2] == (1, 1)
    assert (lb.counters.accepted, lb.counters.denied, lb.counters.too_fast) == (3, 3, 0)
    assert (lb.counters.turned_away, lb.counters.active, server.accepted) == (0, 0, 0)
    await lb.pair(net, server)  # the other port of the listener has no rules


async def test_who_is_allowed_is_served(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server))
    address = listen(lb, Admission(access("allow 127.0.0.1", "deny all")))
    await (await net.client(address)).send(b"hello")
    assert await (await server.accept()).receive(5) == b"hello"
    assert lb.counters.denied == 0


async def test_ipv4_clients_of_an_ipv6_socket_are_known(net: Net, balancer: MakeBalancer) -> None:
    lb = balancer(backend(net.server()))
    _, port = listen(lb, Admission(access("deny 127.0.0.0/8")), "::")
    assert await (await net.client(("127.0.0.1", port))).ending() == "reset"
    assert (await lb.record()).client_host == "::ffff:127.0.0.1"
    assert lb.counters.denied == 1


async def test_a_client_that_is_too_fast_is_reset(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server), clock=lambda: 1000.0)
    address = listen(lb, Admission(client_rates=client_rates(2)))
    pairs = [(await net.client(address), await server.accept()) for _ in range(2)]
    assert await (await net.client(address)).ending() == "reset"
    record = await lb.record()
    assert record.termination is Termination.TOO_FAST
    assert record.active[:2] == (3, 3)
    assert (lb.counters.denied, lb.counters.too_fast) == (0, 1)
    await pairs[0][0].send(b"still served")
    assert await pairs[0][1].receive(12) == b"still served"


async def test_without_a_log_refusals_are_counted(net: Net, balancer: MakeBalancer) -> None:
    lb = balancer(backend(net.server()))
    lb.frontend.record = None
    address = listen(lb, Admission(access("deny all")))
    assert await (await net.client(address)).ending() == "reset"
    assert lb.counters.denied == 1


async def test_a_log_that_fails_takes_no_place_away(
    net: Net, balancer: MakeBalancer, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(record: Record) -> None:
        raise ValueError(record.listener)

    lb = balancer(backend(net.server()), max_connections=1, sink=broken)
    address = listen(lb, Admission(access("deny all")))
    for _ in range(3):
        assert await (await net.client(address)).ending() == "reset"
    await eventually(lambda: lb.counters.denied == 3)
    assert set(caplog.messages) == {"internal error in a refusal; the other connections go on"}


async def test_limit_of_a_listener_holds_over_its_sockets_and_for_no_other(
    net: Net, balancer: MakeBalancer, caplog: pytest.LogCaptureFixture
) -> None:
    server = net.server()
    lb = balancer(backend(server), max_connections=10)
    admission = Admission(max_connections=2)
    limited = replace(lb.frontend, admission=admission)
    one, other = (lb.listen("127.0.0.1", frontend=limited) for _ in range(2))
    inside = [(await net.client(address), await server.accept()) for address in (one, other)]
    waiting = await net.client(one)
    await waiting.send(b"third")
    await eventually(lambda: lb.counters.pauses >= 1)
    free = await lb.pair(net, server)
    assert lb.plane.open_sessions == 3
    for peer in (*free, *inside[1]):
        peer.close()
    upstream = await server.accept()
    assert await upstream.receive(5) == b"third"
    assert set(caplog.messages) == {
        "listener front: max_connections reached (2): accepting pauses, clients wait in the backlog"
    }


async def test_rate_of_a_listener_delays(
    net: Net, balancer: MakeBalancer, caplog: pytest.LogCaptureFixture
) -> None:
    now = [1000.0]
    server = net.server()
    lb = balancer(backend(server), clock=lambda: now[0])
    address = listen(lb, Admission(rate=TokenBucket(Rate(per_second=50, burst=1))))
    clients: list[Peer] = []
    for number in range(3):
        clients.append(await net.client(address))
        await clients[number].send(b"%d" % number)
    assert await (await server.accept()).receive(1) == b"0"
    await eventually(lambda: bool(caplog.messages))
    assert lb.counters.accepted == 1
    for number in (1, 2):
        now[0] += 0.02
        assert await (await server.accept()).receive(1) == b"%d" % number
    assert "listener front: max_new_per_second reached (50)" in caplog.text

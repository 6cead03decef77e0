"""Clients that get no session: denied by a rule, or too fast."""

from __future__ import annotations

import json
import socket

import pytest

from tcplb.dataplane.admission import Admission
from tcplb.dataplane.record import Record, to_json, to_tcplog
from tcplb.dataplane.termination import Termination
from tcplb.policy.access_list import AccessList, parse_access_rule
from tcplb.policy.rate import ClientRate, ClientRates, Rate
from tests.dataplane.harness import Balancer, MakeBalancer, ManualClock, backend
from tests.peers import Net, Peer, greet


def access(*rules: str) -> Admission:
    return Admission(access=AccessList([parse_access_rule(rule) for rule in rules]))


def rate(per_second: int, burst: int, prefix: int = 32) -> Admission:
    return Admission(client_rates=ClientRates(ClientRate(Rate(per_second, burst), prefix)))


async def name_for(lb: Balancer, source: str) -> str | None:
    """Connect from an address of one's own; return whom one reached, None if one was refused."""
    sock = socket.socket()
    sock.bind((source, 0))
    sock.connect(lb.address)  # the kernel accepts it at once
    peer = Peer(sock)
    try:
        peer.fin()
        data, ending = await peer.until_end()
    except OSError:
        return None
    finally:
        peer.close()
    assert (data == b"") == (ending == "reset")
    return data.decode() or None


async def test_a_denied_client_is_reset_and_logged(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server), admission=access("deny all"))
    client = await net.client(lb.address)
    port = client.port
    assert await client.ending() == "reset"
    record = await lb.record()
    assert record.termination is Termination.DENIED
    assert (record.client_host, record.client_port) == ("127.0.0.1", port)
    assert (record.backend, record.attempts) == (None, 0)
    assert (record.bytes_up, record.bytes_down) == (0, 0)
    assert (lb.counters.denied, lb.counters.too_fast, lb.counters.accepted) == (1, 0, 1)
    assert (lb.counters.active, lb.counters.turned_away) == (0, 0)
    assert server.accepted == 0
    assert " front web/<NOSRV> -1/-1/0 0 PR " in to_tcplog(record)
    shown = json.loads(to_json(record))
    assert (shown["termination"], shown["reason"]) == ("PR", Termination.DENIED.reason)


async def test_the_first_rule_that_matches_decides(net: Net, balancer: MakeBalancer) -> None:
    b1 = backend(net.server().serve(greet("b1")))
    lb = balancer(b1, admission=access("allow 127.0.0.7", "deny 127.0.0.0/29", "allow all"))
    for source, name in (
        ("127.0.0.7", "b1"),
        ("127.0.0.1", None),
        ("127.0.0.6", None),
        ("127.0.0.8", "b1"),
    ):
        assert await name_for(lb, source) == name
    codes = [(await lb.record()).termination for _ in range(4)]
    assert codes.count(Termination.DENIED) == lb.counters.denied == 2
    assert codes.count(Termination.NORMAL) == 2


async def test_data_of_a_denied_client_is_never_read(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server), admission=access("deny 127.0.0.1"))
    for _ in range(20):
        client = Peer(socket.create_connection(lb.address))  # before the balancer runs
        client.put(b"let me in")
        assert await client.ending() == "reset"
        client.close()
        assert (await lb.record()).termination is Termination.DENIED
    assert server.accepted == 0


async def test_a_client_that_is_too_fast_is_reset_until_it_has_waited(
    net: Net, balancer: MakeBalancer
) -> None:
    clock = ManualClock()
    b1 = backend(net.server().serve(greet("b1")))
    lb = balancer(b1, admission=rate(1, 3), clock=clock)
    assert [await name_for(lb, "127.0.0.1") for _ in range(5)] == ["b1"] * 3 + [None] * 2
    assert await name_for(lb, "127.0.0.2") == "b1"  # somebody else's rate is its own
    clock.now += 1
    assert [await name_for(lb, "127.0.0.1") for _ in range(2)] == ["b1", None]
    assert lb.counters.too_fast == 3
    assert lb.counters.accepted == 8
    records = [await lb.record() for _ in range(8)]
    refused = [each for each in records if each.termination is Termination.TOO_FAST]
    assert [each.client_host for each in refused] == ["127.0.0.1"] * 3
    assert all(to_tcplog(each).split()[6] == "PR" for each in refused)


async def test_a_network_may_be_one_client(net: Net, balancer: MakeBalancer) -> None:
    b1 = backend(net.server().serve(greet("b1")))
    lb = balancer(b1, admission=rate(1, 1, prefix=24), clock=ManualClock())
    names = [await name_for(lb, f"127.0.{net_}.{n}") for net_ in (1, 2) for n in (1, 2)]
    assert names == ["b1", None, "b1", None]


async def test_refused_clients_take_no_place(net: Net, balancer: MakeBalancer) -> None:
    """With room for one at a time, hundreds are refused, and the next one is served."""
    server = net.server()
    lb = balancer(
        backend(server), admission=access("deny 127.0.0.1"), max_connections=1, backlog=512
    )
    clients = [await net.client(lb.address) for _ in range(200)]
    for client in clients:
        assert await client.ending() == "reset"
    assert lb.counters.pauses == 0
    assert lb.plane.open_sessions == 0
    with socket.socket() as sock:
        sock.bind(("127.0.0.3", 0))
        sock.connect(lb.address)
        upstream = await server.accept()
        upstream.close()
    for _ in clients:
        assert (await lb.record()).termination is Termination.DENIED
    assert lb.counters.denied == 200


async def test_log_that_cannot_be_written_for_a_refusal(
    net: Net, balancer: MakeBalancer, caplog: pytest.LogCaptureFixture
) -> None:
    def full_disk(record: Record) -> None:
        raise OSError(28, "No space left on device")

    lb = balancer(backend(net.server()), admission=access("deny all"), sink=full_disk)
    for _ in range(3):
        client = await net.client(lb.address)
        assert await client.ending() == "reset"
    assert lb.counters.denied == 3
    assert caplog.text.count("internal error in a refusal") == 3
    caplog.clear()

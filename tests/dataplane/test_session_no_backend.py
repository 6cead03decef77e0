"""Nobody to send a client to: what it is told, and that the balancer lives on."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tcplb.dataplane.termination import Termination
from tcplb.policy.ejection import EjectPolicy
from tcplb.policy.names import HashKey, StrategyName
from tcplb.policy.transition import State
from tests.dataplane.harness import MakeBalancer, backend, no_descriptors_left
from tests.peers import Net, Peer

HASH = StrategyName.HASH
REQUEST = b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"


async def check_503(client: Peer) -> None:
    answer, ending = await client.until_end()
    assert ending == "fin"
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"Content-Length: %d" % len(body) in head.split(b"\r\n")
    assert b"Connection: close" in head.split(b"\r\n")
    assert body.endswith(b"\n")
    assert body.count(b"\n") == 1


async def test_http_client_gets_a_503(net: Net, balancer: MakeBalancer) -> None:
    lb = balancer(*(backend(net.refusing(), f"b{n}") for n in range(3)), strategy=HASH)
    client = await net.client(lb.address)
    await client.send(REQUEST)
    await check_503(client)
    client.close()
    record = await lb.record()
    assert record.termination is Termination.CONNECT_FAILED
    assert record.attempts == 3
    assert (record.connect_ms, record.bytes_up, record.bytes_down) == (-1, 0, 0)
    assert lb.counters.turned_away == 1


async def test_503_arrives_in_spite_of_a_body_that_nobody_wants(
    net: Net, balancer: MakeBalancer
) -> None:
    lb = balancer(backend(net.refusing()), strategy=HASH)
    client = await net.client(lb.address)
    await client.send(b"PUT /x HTTP/1.1\r\nContent-Length: 500000\r\n\r\n" + b"b" * 500_000)
    await check_503(client)
    client.close()
    assert (await lb.record()).termination is Termination.CONNECT_FAILED


async def test_client_that_does_not_leave_after_its_503_is_left(
    net: Net, balancer: MakeBalancer
) -> None:
    lb = balancer(backend(net.refusing()), strategy=HASH)
    client = await net.client(lb.address)
    await client.send(REQUEST)
    await check_503(client)
    assert (await lb.record()).termination is Termination.CONNECT_FAILED


async def test_client_that_sends_without_end_after_its_503_is_left(
    net: Net, balancer: MakeBalancer
) -> None:
    lb = balancer(backend(net.refusing()), strategy=HASH)
    client = await net.client(lb.address)
    await client.send(REQUEST)
    sending = asyncio.create_task(_send_without_end(client))
    assert (await lb.record()).termination is Termination.CONNECT_FAILED
    await sending


async def test_client_that_resets_instead_of_reading_its_503(
    net: Net, balancer: MakeBalancer
) -> None:
    lb = balancer(backend(net.refusing()), strategy=HASH)
    for _ in range(5):
        client = await net.client(lb.address)
        await client.send(REQUEST)
        await client.receive(10)
        client.reset()
        assert (await lb.record()).termination is Termination.CONNECT_FAILED


@pytest.mark.parametrize("data", [b"", b"\x16\x03\x01\x02\x00"])
async def test_any_other_client_gets_a_reset(net: Net, balancer: MakeBalancer, data: bytes) -> None:
    lb = balancer(backend(net.refusing()), strategy=HASH)
    client = await net.client(lb.address)
    await client.send(data)
    assert await client.ending() == "reset"
    assert (await lb.record()).termination is Termination.CONNECT_FAILED


async def test_round_robin_reads_no_http_and_so_resets(net: Net, balancer: MakeBalancer) -> None:
    lb = balancer(backend(net.refusing()))
    client = await net.client(lb.address)
    assert await client.ending() == "reset"
    assert lb.counters.turned_away == 1


@pytest.mark.parametrize("strategy", list(StrategyName))
async def test_no_backend_of_positive_weight(
    net: Net, balancer: MakeBalancer, strategy: StrategyName
) -> None:
    drained = backend(net.server(), weight=0)
    lb = balancer(drained, strategy=strategy, hash_key=HashKey.CLIENT)
    client = await net.client(lb.address)
    assert await client.ending() == "reset"
    record = await lb.record()
    assert record.termination is Termination.NO_BACKEND
    assert (record.backend, record.attempts) == (None, 0)
    assert lb.counters.turned_away == 1


async def test_the_balancer_lives_on(net: Net, balancer: MakeBalancer) -> None:
    port = net.refusing()
    lb = balancer(backend(port))
    for _ in range(20):
        client = await net.client(lb.address)
        assert await client.ending() == "reset"
        assert (await lb.record()).termination is Termination.CONNECT_FAILED
    await port.close()
    server = net.server(port=port.port)
    client, upstream = await lb.pair(net, server)
    upstream.close()
    assert await client.ending() == "fin"


async def test_our_own_want_of_descriptors_is_not_the_backends_failure(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    backends = [backend(server, "b1"), backend(server, "b2")]
    eject_at_once = EjectPolicy(failures=1, base_time=3600, max_time=3600)
    lb = balancer(*backends, strategy=HASH, hash_key=HashKey.REQUEST, eject=eject_at_once)
    client = await net.client(lb.address)
    await client.send(REQUEST[:5])
    with no_descriptors_left():
        await client.send(REQUEST[5:])
        await check_503(client)
    client.close()
    record = await lb.record()
    assert record.termination is Termination.NO_RESOURCES
    assert record.attempts == 2
    assert all(lb.pool.state(backend) is State.IN for backend in backends)
    assert server.accepted == 0

    client = await net.client(lb.address)
    await client.send(REQUEST)
    upstream = await server.accept()
    assert await upstream.receive(len(REQUEST)) == REQUEST


async def _send_without_end(client: Peer) -> None:
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while True:
            await client.send(b"x" * 65536)

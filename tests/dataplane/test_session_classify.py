"""From the first bytes to the key, and every one of those bytes to the backend all the same."""

from __future__ import annotations

import asyncio

import pytest

from tcplb.dataplane.engine import Timeouts
from tcplb.dataplane.termination import Termination
from tcplb.policy.names import HashKey, StrategyName
from tests.dataplane.harness import Balancer, MakeBalancer, backend
from tests.peers import Net, Server, greet

CLIENT = b"127.0.0.1"
HASH = StrategyName.HASH


async def key_of(lb: Balancer, net: Net, server: Server, data: bytes) -> bytes:
    """Send `data` in one piece, check that the backend gets all of it, and return the key."""
    client = await net.client(lb.address)
    async with asyncio.TaskGroup() as group:
        group.create_task(client.send(data))
        upstream = await server.accept()
        assert await upstream.receive(len(data)) == data
    client.fin()
    assert await upstream.ending() == "fin"
    upstream.fin()
    assert await client.ending() == "fin"
    return (await lb.record()).key


async def test_round_robin_needs_no_key_and_waits_for_no_byte(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server), hash_key=HashKey.REQUEST)
    client, upstream = await lb.pair(net, server)  # the client never speaks
    upstream.close()
    assert await client.ending() == "fin"
    client.fin()
    assert (await lb.record()).key == b""


async def test_key_client_waits_for_no_byte(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server), strategy=HASH, hash_key=HashKey.CLIENT)
    assert await key_of(lb, net, server, b"") == CLIENT
    assert await key_of(lb, net, server, b"GET /x HTTP/1.1\r\n\r\n") == CLIENT


async def test_auto_takes_silence_for_a_server_that_speaks_first(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server), strategy=HASH)
    client = await net.client(lb.address)
    upstream = await server.accept()
    await upstream.send(b"220 ready\r\n")
    assert await client.receive(11) == b"220 ready\r\n"
    client.reset()
    assert (await lb.record()).key == CLIENT


@pytest.mark.parametrize("hash_key", [HashKey.AUTO, HashKey.REQUEST])
async def test_http_is_keyed_by_its_target(
    net: Net, balancer: MakeBalancer, hash_key: HashKey
) -> None:
    server = net.server()
    lb = balancer(backend(server), strategy=HASH, hash_key=hash_key)
    request = b"GET /x?y=1 HTTP/1.1\r\nHost: a.example\r\n\r\n"
    assert await key_of(lb, net, server, request) == b"/x?y=1"
    assert await key_of(lb, net, server, b"POST /up HTTP/1.0\r\n\r\nbody") == b"/up"
    proxied = b"GET http://any.name/x?y=1 HTTP/1.1\r\nHost: any.name\r\n\r\n"
    assert await key_of(lb, net, server, proxied) == b"/x?y=1"


async def test_both_forms_of_a_target_reach_the_same_backend(
    net: Net, balancer: MakeBalancer
) -> None:
    names = [f"b{number}" for number in range(4)]
    lb = balancer(
        *(backend(net.server().serve(greet(name)), name) for name in names), strategy=HASH
    )
    met = set()
    for page in range(12):
        origin = await lb.name(net, b"GET /%d HTTP/1.1\r\n\r\n" % page)
        absolute = await lb.name(net, b"GET http://h:80/%d HTTP/1.1\r\n\r\n" % page)
        assert origin == absolute
        met.add(origin)
    assert len(met) > 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"*1\r\n$4\r\nPING\r\n",
        b"get /x HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
    ],
    ids=["tls", "redis", "lower case", "http/2", "postgresql"],
)
async def test_what_is_not_http_goes_on_at_once(
    net: Net, balancer: MakeBalancer, data: bytes
) -> None:
    server = net.server()
    lb = balancer(backend(server), strategy=HASH)  # its time-outs would outlast the test
    assert await key_of(lb, net, server, data) == CLIENT


@pytest.mark.parametrize("hash_key", [HashKey.AUTO, HashKey.REQUEST])
async def test_first_line_byte_by_byte(net: Net, balancer: MakeBalancer, hash_key: HashKey) -> None:
    server = net.server()
    lb = balancer(backend(server), strategy=HASH, hash_key=hash_key)
    client = await net.client(lb.address)
    line = b"GET /slowly HTTP/1.1\r\n"
    for byte in line:
        await client.send(bytes([byte]))
        await client.delivered()
    upstream = await server.accept()
    assert await upstream.receive(len(line)) == line
    client.reset()
    assert (await lb.record()).key == b"/slowly"


@pytest.mark.parametrize("pieces", [1, 3])
async def test_line_too_long_falls_back_and_its_bytes_pass(
    net: Net, balancer: MakeBalancer, pieces: int
) -> None:
    server = net.server()
    lb = balancer(backend(server), strategy=HASH)
    data = b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n"
    client = await net.client(lb.address)
    step = len(data) // pieces + 1
    for start in range(0, len(data), step):
        await client.send(data[start : start + step])
        await client.delivered()
    upstream = await server.accept()
    assert await upstream.receive(len(data)) == data
    client.reset()
    assert (await lb.record()).key == CLIENT


async def test_large_body_right_behind_the_first_line(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server), strategy=HASH)
    assert await key_of(lb, net, server, b"PUT /x HTTP/1.1\r\n\r\n" + b"b" * 1_000_000) == b"/x"


@pytest.mark.parametrize("hash_key", [HashKey.AUTO, HashKey.REQUEST])
async def test_first_line_that_does_not_end_in_time(
    net: Net, balancer: MakeBalancer, hash_key: HashKey
) -> None:
    server = net.server()
    lb = balancer(
        backend(server), strategy=HASH, hash_key=hash_key, timeouts=Timeouts(first_line=0.2)
    )
    client = await net.client(lb.address)
    await client.send(b"GET /never-en")
    upstream = await server.accept()
    assert await upstream.receive(13) == b"GET /never-en"
    await client.send(b"ds HTTP/1.1\r\n")
    assert await upstream.receive(13) == b"ds HTTP/1.1\r\n"
    client.reset()
    record = await lb.record()
    assert record.key == CLIENT
    assert record.classify_ms >= 150


async def test_key_request_gives_up_on_silence_after_the_first_line_time_out(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    timeouts = Timeouts(first_line=0.3)
    lb = balancer(backend(server), strategy=HASH, hash_key=HashKey.REQUEST, timeouts=timeouts)
    assert await key_of(lb, net, server, b"") == CLIENT


@pytest.mark.parametrize("data", [b"", b"GET /ha"])
async def test_client_that_half_closes_before_a_full_line(
    net: Net, balancer: MakeBalancer, data: bytes
) -> None:
    server = net.server()
    lb = balancer(backend(server), strategy=HASH, hash_key=HashKey.REQUEST)
    client = await net.client(lb.address)
    await client.send(data)
    client.fin()
    upstream = await server.accept()
    assert await upstream.until_end() == (data, "fin")
    await upstream.send(b"what was that?")
    upstream.fin()
    assert await client.until_end() == (b"what was that?", "fin")
    assert (await lb.record()).key == CLIENT


@pytest.mark.parametrize("data", [b"", b"GET /ha"])
async def test_client_that_resets_before_a_full_line(
    net: Net, balancer: MakeBalancer, data: bytes
) -> None:
    server = net.server()
    lb = balancer(backend(server), strategy=HASH, hash_key=HashKey.REQUEST)
    client = await net.client(lb.address)
    await client.send(data)
    await client.delivered()
    client.reset()
    record = await lb.record()
    assert record.termination is Termination.CLIENT_RESET_EARLY
    assert record.backend is None
    assert record.attempts == 0
    assert (record.queue_ms, record.connect_ms, record.classify_ms) == (-1, -1, -1)
    assert server.accepted == 0


async def test_ipv6_client_is_keyed_by_its_address(net: Net, balancer: MakeBalancer) -> None:
    server = net.server("::1")
    lb = balancer(backend(server), strategy=HASH, hash_key=HashKey.CLIENT, host="::1")
    client, upstream = await lb.pair(net, server)
    upstream.close()
    assert await client.ending() == "fin"
    client.fin()
    record = await lb.record()
    assert (record.key, record.client_host, record.client_port) == (b"::1", "::1", client.port)

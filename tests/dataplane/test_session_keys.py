"""What a keyed strategy places, beyond the HTTP request: first lines, destinations, networks."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tcplb.dataplane.engine import Timeouts
from tcplb.dataplane.termination import Termination
from tcplb.policy.classify import MAX_FIRST_LINE
from tcplb.policy.names import HashKey, KeyRule, StrategyName, parse_key_rule
from tcplb.policy.rules import PoolRules
from tests.dataplane.harness import PATIENT, Balancer, MakeBalancer, ManualClock, backend
from tests.dataplane.test_session_no_backend import check_503
from tests.peers import Net, Server, eventually

HASH = StrategyName.HASH
CLIENT = b"127.0.0.1"
FIRST_LINE = PoolRules(key_rule=KeyRule(HashKey.FIRST_LINE))


def by_first_line(
    balancer: MakeBalancer, server: Server, *, timeouts: Timeouts = PATIENT
) -> Balancer:
    return balancer(backend(server), strategy=HASH, rules=FIRST_LINE, timeouts=timeouts)


async def key_of(net: Net, lb: Balancer, server: Server, *pieces: bytes) -> bytes:
    """Send `pieces` one by one, and the FIN; check that all arrive, and return the key."""
    client = await net.client(lb.address)
    whole = b"".join(pieces)

    async def speak() -> None:
        for piece in pieces:
            await client.send(piece)
            await client.delivered()
        client.fin()

    async with asyncio.TaskGroup() as group:
        group.create_task(speak())
        upstream = await server.accept()
        assert await upstream.until_end() == (whole, "fin")
    await upstream.send(b"the answer")
    upstream.fin()
    assert await client.until_end() == (b"the answer", "fin")
    record = await lb.record()
    assert record.termination is Termination.NORMAL
    return record.key


# -- first-line ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b"*1\r\n$4\r\nPING\r\n", b"*1"),
        (b"set user:7 0 60 2\r\nhi\r\n", b"set user:7 0 60 2"),
        (b"room 17\nhello\n", b"room 17"),
        (b"\nsecond\n", b""),
        (b"\r\nsecond\r\n", b""),
        (b"a\rb\r\r\n", b"a\rb\r"),
        (b"\x00\xff\xfe\n", b"\x00\xff\xfe"),
        (b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /x HTTP/1.1"),
        (b"long " * 1600 + b"\r\n" + b"body" * 100_000, b"long " * 1600),
    ],
    ids=["redis", "memcached", "lf", "empty lf", "empty crlf", "crs", "binary", "http", "bulk"],
)
async def test_key_is_the_first_line_of_any_protocol(
    net: Net, balancer: MakeBalancer, data: bytes, key: bytes
) -> None:
    server = net.server()
    assert await key_of(net, by_first_line(balancer, server), server, data) == key


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
async def test_split_at_any_point(net: Net, balancer: MakeBalancer, line_end: bytes) -> None:
    server = net.server()
    lb = by_first_line(balancer, server)
    data = b"room 17" + line_end + b"hello\nworld"
    for point in range(1, len(data)):
        key = await key_of(net, lb, server, data[:point], data[point:])
        assert key == b"room 17", point
    assert await key_of(net, lb, server, *(bytes([byte]) for byte in data)) == b"room 17"


@pytest.mark.parametrize("data", [b"", b"room 17", b"room 17\r", b"x" * 5000])
async def test_no_line_end_until_the_fin(net: Net, balancer: MakeBalancer, data: bytes) -> None:
    server = net.server()
    lb = by_first_line(balancer, server)
    assert await key_of(net, lb, server, data) == CLIENT
    assert await key_of(net, lb, server, data[:4], data[4:]) == CLIENT


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
async def test_the_longest_line_and_one_too_long(
    net: Net, balancer: MakeBalancer, line_end: bytes
) -> None:
    server = net.server()
    lb = by_first_line(balancer, server)
    longest = b"x" * MAX_FIRST_LINE
    for cut in (1, 5000, len(longest), len(longest) + 1):
        data = longest + line_end + b"more"
        assert await key_of(net, lb, server, data[:cut], data[cut:]) == longest
        too_long = longest + b"yyy" + line_end + b"more"
        assert await key_of(net, lb, server, too_long[:cut], too_long[cut:]) == CLIENT


async def test_a_line_that_never_ends_is_given_up_without_a_time_out(
    net: Net, balancer: MakeBalancer
) -> None:
    """The time-outs would outlast the test."""
    server = net.server()
    lb = by_first_line(balancer, server)
    client = await net.client(lb.address)
    await client.send(b"x" * (MAX_FIRST_LINE + 10))
    upstream = await server.accept()
    assert await upstream.receive(MAX_FIRST_LINE + 10) == b"x" * (MAX_FIRST_LINE + 10)
    client.reset()
    assert (await lb.record()).key == CLIENT


@pytest.mark.parametrize("data", [b"", b"room"], ids=["silent", "begun"])
async def test_too_slow(net: Net, balancer: MakeBalancer, data: bytes) -> None:
    server = net.server()
    lb = by_first_line(balancer, server, timeouts=Timeouts(first_line=0.15))
    client = await net.client(lb.address)
    await client.send(data)
    upstream = await server.accept()  # which it would not reach before its line ends
    await client.send(b" 17\n")
    assert await upstream.receive(len(data) + 4) == data + b" 17\n"
    client.reset()
    assert (await lb.record()).key == CLIENT


class Asked(ManualClock):
    """Knows how often it was asked."""

    asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return super().__call__()


async def test_each_byte_does_not_begin_the_time_anew(net: Net, balancer: MakeBalancer) -> None:
    server, clock = net.server(), Asked()
    lb = balancer(backend(server), strategy=HASH, rules=FIRST_LINE, clock=clock)
    client = await net.client(lb.address)
    await client.send(b"r")
    await eventually(lambda: clock.asked == 4)  # when it began, until when, and for each look
    clock.now += PATIENT.first_line + 1
    await client.send(b"o")
    upstream = await server.accept()
    assert await upstream.receive(2) == b"ro"
    client.reset()
    record = await lb.record()
    assert (record.key, record.classify_ms) == (CLIENT, 21_000)


@pytest.mark.parametrize("data", [b"", b"room"], ids=["silent", "begun"])
async def test_reset_before_the_line_ends(net: Net, balancer: MakeBalancer, data: bytes) -> None:
    server = net.server()
    lb = by_first_line(balancer, server)
    client = await net.client(lb.address)
    await client.send(data)
    await client.delivered()
    client.reset()
    assert (await lb.record()).termination is Termination.CLIENT_RESET_EARLY
    assert server.accepted == 0


async def test_the_same_line_goes_to_the_same_backend(net: Net, balancer: MakeBalancer) -> None:
    servers = {f"b{number}": net.server() for number in range(4)}
    backends = [backend(server, name) for name, server in servers.items()]
    lb = balancer(*backends, strategy=HASH, rules=FIRST_LINE)
    met: dict[int, set[str | None]] = {}
    for _ in range(2):
        for room in range(12):
            client = await net.client(lb.address)
            await client.send(b"room %d\n" % room)
            client.reset()
            met.setdefault(room, set()).add((await lb.record()).backend)
    assert all(len(names) == 1 for names in met.values())
    assert len(set.union(*met.values())) > 1


async def test_http_is_still_known_for_what_it_is(net: Net, balancer: MakeBalancer) -> None:
    lb = balancer(backend(net.refusing()), strategy=HASH, rules=FIRST_LINE)
    client = await net.client(lb.address)
    await client.send(b"GET /x HTTP/1.1\r\n\r\n")
    await check_503(client)
    other = await net.client(lb.address)
    await other.send(b"room 17\r\n")
    assert await other.ending() == "reset"


# -- destination ----------------------------------------------------------------------------------


async def test_key_is_the_address_that_was_connected_to(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server), strategy=HASH, hash_key=HashKey.DESTINATION)
    addresses = [lb.address, lb.listen("127.0.0.2"), lb.listen("127.0.0.1")]
    keys = set()
    for host, port in addresses * 2:
        client = await net.client((host, port))
        upstream = await server.accept()  # it waits for no byte
        upstream.close()
        assert await client.ending() == "fin"
        client.fin()
        key = (await lb.record()).key
        assert key == b"%b:%d" % (host.encode(), port)
        keys.add(key)
    assert len(keys) == 3


async def test_destination_of_a_socket_for_all_addresses(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server), strategy=HASH, hash_key=HashKey.DESTINATION, host="::")
    port = lb.address[1]
    for host, shown in (("127.0.0.1", b"127.0.0.1"), ("127.0.0.9", b"127.0.0.9"), ("::1", b"::1")):
        client = await net.client((host, port))
        await server.accept()
        client.reset()
        assert (await lb.record()).key == b"%b:%d" % (shown, port)


# -- networks of clients --------------------------------------------------------------------------


def client_from(source: str, lb: Balancer, host: str) -> socket.socket:
    """Connect from an address of one's own."""
    sock = socket.socket()
    sock.bind((source, 0))
    sock.connect((host, lb.address[1]))
    return sock


@pytest.mark.parametrize("host", ["127.0.0.1", "::"], ids=["ipv4", "mapped"])
@pytest.mark.parametrize(
    ("rule", "keys"),
    [
        ("client", [b"127.0.1.1", b"127.0.1.200", b"127.0.2.1"]),
        ("client/24", [b"127.0.1.0/24", b"127.0.1.0/24", b"127.0.2.0/24"]),
        ("client/25", [b"127.0.1.0/25", b"127.0.1.128/25", b"127.0.2.0/25"]),
        ("client/8", [b"127.0.0.0/8"] * 3),
        ("client/64", [b"127.0.1.1", b"127.0.1.200", b"127.0.2.1"]),
        ("client/24/64", [b"127.0.1.0/24", b"127.0.1.0/24", b"127.0.2.0/24"]),
    ],
)
async def test_key_is_the_network_of_the_client(
    net: Net, balancer: MakeBalancer, rule: str, keys: list[bytes], host: str
) -> None:
    server = net.server()
    rules = PoolRules(key_rule=parse_key_rule(rule))
    lb = balancer(backend(server), strategy=HASH, rules=rules, host=host)
    seen = []
    for source in ("127.0.1.1", "127.0.1.200", "127.0.2.1"):
        with client_from(source, lb, "127.0.0.1"):
            upstream = await server.accept()
            upstream.close()
        seen.append((await lb.record()).key)
    assert seen == keys


async def test_prefix_of_an_ipv6_client(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    for rule, key in (("client/64", b"::/64"), ("client/24/48", b"::/48"), ("client/24", b"::1")):
        rules = PoolRules(key_rule=parse_key_rule(rule))
        lb = balancer(backend(server), strategy=HASH, rules=rules, host="::1")
        client = await net.client(lb.address)
        await server.accept()
        client.reset()
        assert (await lb.record()).key == key


async def test_prefix_counts_also_where_the_request_is_no_http(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    rules = PoolRules(key_rule=KeyRule(HashKey.FIRST_LINE, prefix=16))
    lb = balancer(backend(server), strategy=HASH, rules=rules)
    client = await net.client(lb.address)
    client.fin()
    upstream = await server.accept()
    upstream.close()
    assert await client.ending() == "fin"
    assert (await lb.record()).key == b"127.0.0.0/16"

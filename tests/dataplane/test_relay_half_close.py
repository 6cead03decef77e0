"""A FIN is forwarded after every byte before it, and the other direction lives on."""

from __future__ import annotations

from tcplb.dataplane.termination import Termination
from tests.dataplane.harness import MakeBalancer, backend
from tests.peers import Net, pattern


async def test_client_ends_first_and_still_gets_the_answer(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)

    await client.send(b"request")
    client.fin()
    assert await upstream.until_end() == (b"request", "fin")

    await upstream.send(b"one ")
    assert await client.receive(4) == b"one "  # the direction lives on after the FIN of the other
    await upstream.send(b"two")
    upstream.fin()
    assert await client.until_end() == (b"two", "fin")

    record = await lb.record()
    assert record.termination is Termination.NORMAL
    assert (record.bytes_up, record.bytes_down) == (7, 7)


async def test_backend_ends_first_and_still_gets_the_upload(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)

    await upstream.send(b"take it all")
    upstream.fin()
    assert await client.until_end() == (b"take it all", "fin")

    for part in (b"one ", b"two ", b"three"):
        await client.send(part)
        assert await upstream.receive(len(part)) == part
    client.fin()
    assert await upstream.ending() == "fin"
    assert (await lb.record()).termination is Termination.NORMAL


async def test_both_end_at_once(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)

    await client.send(b"up")
    await upstream.send(b"down")
    client.fin()
    upstream.fin()
    assert await client.until_end() == (b"down", "fin")
    assert await upstream.until_end() == (b"up", "fin")
    record = await lb.record()
    assert record.termination is Termination.NORMAL
    assert (record.bytes_up, record.bytes_down) == (2, 4)


async def test_neither_says_a_word(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)

    client.fin()
    assert await upstream.ending() == "fin"
    upstream.fin()
    assert await client.ending() == "fin"
    record = await lb.record()
    assert record.termination is Termination.NORMAL
    assert (record.bytes_up, record.bytes_down) == (0, 0)


async def test_fin_waits_behind_bytes_that_a_slow_reader_has_not_taken(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client = await net.client(lb.address, receive_buffer=16 * 1024)
    upstream = await server.accept()

    payload = pattern(8 * 1024 * 1024)
    sent = await upstream.flood(payload)
    upstream.fin()
    data, ending = await client.until_end()
    assert ending == "fin"
    assert data == payload[:sent]


async def test_last_bytes_of_a_backend_that_closes_at_once_after_them(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    answer = pattern(100_000)
    for _ in range(20):
        client, upstream = await lb.pair(net, server)
        await client.send(b"request")
        await upstream.receive(7)
        await upstream.send(answer)
        upstream.close()
        assert await client.until_end() == (answer, "fin")
        client.close()
        record = await lb.record()
        assert record.bytes_down == len(answer)


async def test_server_speaks_first(net: Net, balancer: MakeBalancer) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)

    await upstream.send(b"220 ready\r\n")
    assert await client.receive(11) == b"220 ready\r\n"
    await client.send(b"QUIT\r\n")
    assert await upstream.receive(6) == b"QUIT\r\n"
    upstream.close()
    assert await client.ending() == "fin"


async def test_request_and_answer_many_times_on_one_connection(
    net: Net, balancer: MakeBalancer
) -> None:
    server = net.server()
    lb = balancer(backend(server))
    client, upstream = await lb.pair(net, server)
    for turn in range(200):
        question = b"question %d" % turn
        await client.send(question)
        assert await upstream.receive(len(question)) == question
        await upstream.send(b"answer")
        assert await client.receive(6) == b"answer"
    client.fin()
    upstream.fin()
    assert await client.ending() == "fin"
    assert (await lb.record()).bytes_down == 1200

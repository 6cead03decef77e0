from __future__ import annotations

import asyncio
import contextlib
import os
import random

import pytest

from echo_backends import EchoServer, Faults
from echo_backends.naming import QUESTION, answer
from tests.echo_backends.client import Ending
from tests.echo_backends.conftest import Connect

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LONG = 3600.0
"""A delay or hold, in seconds, that no test lives to see the end of."""


def body(server: EchoServer) -> bytes:
    return f"Received request on server running on port {server.port}\n".encode()


# HTTP


async def test_a_kept_connection_answers_again_and_again(connect: Connect) -> None:
    async with EchoServer() as server:
        client = await connect(server.port)
        for _ in range(3):
            await client.send(GET)
            assert (await client.receive_answer()).endswith(b"\r\n\r\n" + body(server))
        assert (server.connections, server.requests, server.open_connections) == (1, 3, 1)


async def test_pipelined_requests(connect: Connect) -> None:
    async with EchoServer() as server:
        client = await connect(server.port)
        await client.send(GET * 100)
        for _ in range(100):
            assert (await client.receive_answer()).endswith(body(server))
        assert server.requests == 100


async def test_a_request_byte_by_byte(connect: Connect) -> None:
    async with EchoServer(hold=LONG) as server:
        client = await connect(server.port)
        request = b"POST http://any.name/echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
        for byte in request:
            await client.send(bytes([byte]))
            await asyncio.sleep(0)  # Lets the server see them one at a time.
        assert (await client.receive_answer()).endswith(b"\r\n\r\nabc")


async def test_head_then_get(connect: Connect) -> None:
    async with EchoServer() as server:
        client = await connect(server.port)
        await client.send(b"HEAD / HTTP/1.1\r\n\r\n" + GET)
        assert f"Content-Length: {len(body(server))}".encode() in await client.receive_answer(
            body=False
        )
        assert (await client.receive_answer()).endswith(body(server))


async def test_a_large_chunked_body_comes_back(connect: Connect) -> None:
    async with EchoServer() as server:
        client = await connect(server.port)
        data = random.Random(1).randbytes(1_000_000)
        await client.send(b"PUT /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(data), 100_000):
            await client.send(b"186a0\r\n" + data[start : start + 100_000] + b"\r\n")
        await client.send(b"0\r\n\r\n")
        assert (await client.receive_answer()).partition(b"\r\n\r\n")[2] == data


@pytest.mark.parametrize(
    "last",
    [
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"CONNECT any.name:443 HTTP/1.1\r\n\r\n",
        b"malformed\r\n",
    ],
)
async def test_a_last_answer_arrives_though_unread_bytes_follow(
    connect: Connect, last: bytes
) -> None:
    async with EchoServer() as server:
        client = await connect(server.port)
        await client.send(GET + last + b"x" * 200_000)
        await client.receive_answer()
        received, ending = await client.receive_all()
        assert b"\r\nConnection: close\r\n" in received
        assert ending is Ending.FIN


async def test_a_client_that_half_closes_after_its_request_is_answered(connect: Connect) -> None:
    async with EchoServer() as server:
        client = await connect(server.port)
        await client.send(GET)
        client.send_fin()
        received, ending = await client.receive_all()
        assert received.endswith(body(server))
        assert ending is Ending.FIN


async def test_the_body_is_asked_for_before_it_is_sent(connect: Connect) -> None:
    async with EchoServer() as server:
        client = await connect(server.port)
        head = b"POST /echo HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        await client.send(head)
        assert await client.receive_answer() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"ok")
        assert (await client.receive_answer()).endswith(b"\r\n\r\nok")
        assert server.requests == 1


# Raw echo


async def test_what_is_not_http_is_echoed_until_the_fin(connect: Connect) -> None:
    async with EchoServer() as server:
        client = await connect(server.port)
        data = os.urandom(2_000_000)
        sending = asyncio.create_task(client.send(b"\x16" + data))
        assert await client.receive(1 + len(data)) == b"\x16" + data
        await sending
        await client.send(b"and once more")
        client.send_fin()
        assert await client.receive_all() == (b"and once more", Ending.FIN)
        assert server.requests == 0


@pytest.mark.parametrize(
    "data", [b"GET lost\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"x" * 9000, b"HELO you\r\n"]
)
async def test_what_only_begins_like_http_is_echoed(connect: Connect, data: bytes) -> None:
    async with EchoServer(hold=LONG) as server:
        client = await connect(server.port)
        await client.send(data)
        assert await client.receive(len(data)) == data
        await client.send(GET)
        assert await client.receive(len(GET)) == GET


async def test_undecided_bytes_are_echoed_at_the_end_of_file(connect: Connect) -> None:
    async with EchoServer(hold=LONG) as server:
        client = await connect(server.port)
        await client.send(b"GET /lost")
        client.send_fin()
        assert await client.receive_all() == (b"GET /lost", Ending.FIN)


async def test_undecided_bytes_are_echoed_when_nothing_follows(connect: Connect) -> None:
    async with EchoServer(hold=0.001) as server:
        client = await connect(server.port)
        await client.send(b"G")
        assert await client.receive(1) == b"G"
        await client.send(b"ET / HTTP/1.1\r\n\r\n")
        assert await client.receive(17) == b"ET / HTTP/1.1\r\n\r\n"


async def test_a_client_that_says_nothing_is_closed_in_order(connect: Connect) -> None:
    async with EchoServer() as server:
        client = await connect(server.port)
        client.send_fin()
        assert await client.receive_all() == (b"", Ending.FIN)


async def test_bytes_echoed_are_counted(connect: Connect) -> None:
    async with EchoServer() as server:
        for data in (b"hello", b"and more"):
            client = await connect(server.port)
            await client.send(data)
            client.send_fin()
            assert await client.receive_all() == (data, Ending.FIN)
        web = await connect(server.port)
        await web.send(b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
        await web.receive_answer()
        assert (server.echoed, server.requests, server.names_asked) == (13, 1, 0)


# Naming


def named(server: EchoServer) -> bytes:
    return answer(server.address)


@pytest.mark.parametrize("after", [b"", b"hello", GET, QUESTION, b"\0" * 100_000])
async def test_the_question_is_answered_and_the_rest_echoed(connect: Connect, after: bytes) -> None:
    async with EchoServer(hold=LONG) as server:
        client = await connect(server.port)
        await client.send(QUESTION + after)
        expected = named(server) + after
        assert await client.receive(len(expected)) == expected
        await client.send(b"and on")
        client.send_fin()
        assert await client.receive_all() == (b"and on", Ending.FIN)
        assert (server.names_asked, server.requests) == (1, 0)
        assert server.echoed == len(after) + 6


async def test_the_question_byte_by_byte(connect: Connect) -> None:
    async with EchoServer(hold=LONG) as server:
        client = await connect(server.port)
        for byte in QUESTION + b"hello":
            await client.send(bytes([byte]))
            await asyncio.sleep(0)  # Lets the server see them one at a time.
        expected = named(server) + b"hello"
        assert await client.receive(len(expected)) == expected


@pytest.mark.parametrize("data", [b"\0", QUESTION[:-1]])
async def test_half_a_question_is_echoed_when_nothing_follows(
    connect: Connect, data: bytes
) -> None:
    async with EchoServer(hold=0.001) as server:
        client = await connect(server.port)
        await client.send(data)
        assert await client.receive(len(data)) == data
        await client.send(QUESTION)
        assert await client.receive(len(QUESTION)) == QUESTION
        assert server.names_asked == 0


async def test_half_a_question_is_echoed_at_the_end_of_file(connect: Connect) -> None:
    async with EchoServer(hold=LONG) as server:
        client = await connect(server.port)
        await client.send(QUESTION[:-1])
        client.send_fin()
        assert await client.receive_all() == (QUESTION[:-1], Ending.FIN)


async def test_what_is_not_quite_the_question_is_echoed_at_once(connect: Connect) -> None:
    async with EchoServer(hold=LONG) as server:
        client = await connect(server.port)
        await client.send(b"\0tcplb what")
        assert await client.receive(11) == b"\0tcplb what"


async def test_a_client_that_asks_and_half_closes_is_answered(connect: Connect) -> None:
    async with EchoServer() as server:
        client = await connect(server.port)
        await client.send(QUESTION)
        client.send_fin()
        assert await client.receive_all() == (named(server), Ending.FIN)


async def test_every_http_answer_has_the_name_as_well(connect: Connect) -> None:
    async with EchoServer() as server:
        client = await connect(server.port)
        for _ in range(2):
            await client.send(GET)
            head = (await client.receive_answer()).partition(b"\r\n\r\n")[0]
            assert f"X-Backend: {server.address}".encode() in head.split(b"\r\n")


# Faults


async def test_refuse(connect: Connect) -> None:
    async with EchoServer(Faults(refuse=True)) as server:
        assert server.port
        with pytest.raises(ConnectionRefusedError):
            await connect(server.port)


@pytest.mark.parametrize("data", [GET, b"hello", QUESTION])
async def test_delay_holds_every_answer_back(connect: Connect, data: bytes) -> None:
    async with EchoServer(Faults(delay=LONG)) as slow, EchoServer() as quick:
        waiting = await connect(slow.port)
        await waiting.send(data)
        client = await connect(quick.port)
        await client.send(data)
        assert await client.receive(5)
        with pytest.raises(BlockingIOError):
            waiting.unread()


@pytest.mark.parametrize("data", [GET, b"hello"])
async def test_what_was_delayed_comes_in_the_end(connect: Connect, data: bytes) -> None:
    async with EchoServer(Faults(delay=0.001)) as server:
        client = await connect(server.port)
        await client.send(data)
        client.send_fin()
        received, ending = await client.receive_all()
        assert received.endswith(data if data == b"hello" else body(server))
        assert ending is Ending.FIN


def cut(ending: Ending, limit: int) -> Faults:
    if ending is Ending.RST:
        return Faults(reset_after=limit)
    return Faults(close_after=limit)


@pytest.mark.parametrize("ending", Ending)
async def test_an_end_at_once(connect: Connect, ending: Ending) -> None:
    async with EchoServer(cut(ending, 0)) as server:
        client = await connect(server.port)
        assert await client.receive_all() == (b"", ending)
        assert server.connections == 1


@pytest.mark.parametrize("ending", Ending)
@pytest.mark.parametrize("limit", [1, 17, 300])
async def test_an_end_in_the_middle_of_http(connect: Connect, ending: Ending, limit: int) -> None:
    async with EchoServer(cut(ending, limit)) as server:
        client = await connect(server.port)
        await client.send(GET * 10)
        received, how = await client.receive_all()
        assert len(received) == limit
        assert how is ending


@pytest.mark.parametrize("ending", Ending)
async def test_an_end_after_exactly_so_many_bytes_of_echo(connect: Connect, ending: Ending) -> None:
    data = os.urandom(1_000_000)
    async with EchoServer(cut(ending, 300_001)) as server:
        # The small buffer leaves much of it in the server's kernel when the limit is reached.
        client = await connect(server.port, receive_buffer=4096)

        async def send() -> None:
            with contextlib.suppress(ConnectionError):
                await client.send(data)

        sending = asyncio.create_task(send())
        received, how = await client.receive_all()
        client.close()
        await sending
        assert received == data[:300_001]
        assert how is ending


@pytest.mark.parametrize("ending", Ending)
async def test_an_end_in_the_middle_of_a_name_or_after_it(connect: Connect, ending: Ending) -> None:
    async with EchoServer() as server:
        expected = named(server) + b"hello"
        for limit in (1, len(named(server)), len(named(server)) + 2):
            server.faults = cut(ending, limit)
            client = await connect(server.port)
            await client.send(QUESTION + b"hello")
            assert await client.receive_all() == (expected[:limit], ending)
        # What the limit cut off was not echoed.
        assert server.echoed == 2


async def test_less_than_the_limit_ends_as_usual(connect: Connect) -> None:
    async with EchoServer(Faults(reset_after=6)) as server:
        client = await connect(server.port)
        await client.send(b"hello")
        client.send_fin()
        assert await client.receive_all() == (b"hello", Ending.FIN)


async def test_stall_accepts_but_never_reads(connect: Connect) -> None:
    async with EchoServer(Faults(stall=True, greeting=b"never")) as server:
        client = await connect(server.port)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                # More than the buffers of both kernels, so it would only end if it were read.
                await client.send(bytes(32_000_000))
        assert server.connections == server.open_connections == 1
        with pytest.raises(BlockingIOError):
            client.unread()


@pytest.mark.parametrize(("data", "start"), [(GET, b"HTTP/1.1 200"), (b"hello", b"hello")])
async def test_a_greeting_comes_first(connect: Connect, data: bytes, start: bytes) -> None:
    async with EchoServer(Faults(greeting=b"220 hi\r\n")) as server:
        client = await connect(server.port)
        assert await client.receive(8) == b"220 hi\r\n"
        await client.send(data)
        assert await client.receive(len(start)) == start


async def test_a_greeting_counts_towards_the_limit(connect: Connect) -> None:
    async with EchoServer(Faults(greeting=b"220 hi\r\n", close_after=3)) as server:
        client = await connect(server.port)
        assert await client.receive_all() == (b"220", Ending.FIN)


async def test_faults_may_be_replaced_while_it_runs(connect: Connect) -> None:
    async with EchoServer(Faults(reset_after=0)) as server:
        assert await (await connect(server.port)).receive_all() == (b"", Ending.RST)
        server.faults = Faults()
        client = await connect(server.port)
        await client.send(GET)
        assert (await client.receive_answer()).endswith(body(server))


# Life


async def test_ipv6_has_brackets(connect: Connect) -> None:
    async with EchoServer(host="::1") as server:
        assert server.address == f"[::1]:{server.port}"
        client = await connect(server.port, "::1")
        await client.send(QUESTION)
        assert await client.receive(len(named(server))) == b"\0tcplb I am %s\n" % (
            server.address.encode()
        )
        client = await connect(server.port, "::1")
        await client.send(GET)
        assert (await client.receive_answer()).endswith(body(server))


async def test_close_ends_connections_and_frees_the_port(connect: Connect) -> None:
    server = EchoServer()
    await server.start()
    client = await connect(server.port)
    await client.send(b"hello")
    assert await client.receive(5) == b"hello"
    await server.close()
    assert await client.receive_all() == (b"", Ending.FIN)
    assert server.open_connections == 0
    with pytest.raises(ConnectionRefusedError):
        await connect(server.port)
    async with EchoServer(port=server.port):
        await connect(server.port)
    await server.close()


async def test_a_taken_port_is_an_error_and_leaves_nothing_open() -> None:
    async with EchoServer() as server:
        with pytest.raises(OSError, match="in use"):
            await EchoServer(port=server.port).start()


async def test_a_client_that_resets_harms_nobody(connect: Connect) -> None:
    async with EchoServer() as server:
        rude = await connect(server.port)
        await rude.send(GET * 1000)
        await rude.receive(1)
        rude.close()  # With answers unread, which makes it a RST.
        client = await connect(server.port)
        await client.send(GET)
        assert (await client.receive_answer()).endswith(body(server))

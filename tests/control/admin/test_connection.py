"""Slow and hostile clients: what they hold is bounded, and they hold it for a bounded time.

The deadlines here are short, and never the reason why a test passes by luck: what is awaited is
that the server closes, and what must not happen would take much longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import selectors
import socket
import threading

import pytest

from tcplb.config.admin import AdminConfig
from tcplb.control.admin.connection import Deadlines
from tcplb.control.admin.listening import open_admin_socket
from tcplb.control.admin.server import AdminServer, Bounds
from tests.control.admin.client import TOKEN, WAIT, Client, close, read_all, small_buffers
from tests.control.admin.conftest import Serve
from tests.control.admin.fake import FakeControl
from tests.peers import eventually

HOURS = 10_000.0
HEAD = "PUT /api/v1/backends/web/b1/weight HTTP/1.1\r\nHost: {}\r\n"


def bounds(
    *, request: float = HOURS, read: float = HOURS, idle: float = HOURS, **rest: int
) -> Bounds:
    deadlines = Deadlines(request=request, read=read, idle=idle, close=1.0)
    return Bounds(deadlines=deadlines, **rest)


async def dribble(writer: asyncio.StreamWriter, text: str) -> None:
    """Send byte by byte, for ever if nobody stops it; a deadline after the last byte never ends."""
    with contextlib.suppress(ConnectionError):
        while True:
            for char in text:
                writer.write(char.encode())
                await writer.drain()
                # It is slow: at full speed it would soon have sent more than is allowed.
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        ("", "GET / HTTP/1.1\r\nX: y"),
        (HEAD, "X-Header: 1\r\n"),
        (
            HEAD + f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
            "Content-Length: 60000\r\n\r\n",
            " ",
        ),
        (
            HEAD + f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n",
            "1\r\n \r\n",
        ),
        ("", "\r\n"),
    ],
)
async def test_who_dribbles_a_request_is_cut_off(serve: Serve, begin: str, more: str) -> None:
    client = await serve(bounds=bounds(request=0.3))
    reader, writer = await client.connect()
    writer.write(begin.format(client.host).encode())
    dribbling = asyncio.create_task(dribble(writer, more))
    await asyncio.wait_for(read_all(reader), WAIT)
    dribbling.cancel()
    await asyncio.gather(dribbling, return_exceptions=True)
    await close(writer)


async def test_the_second_request_has_a_deadline_too(serve: Serve) -> None:
    client = await serve(bounds=bounds(request=0.5))
    reader, writer = await client.connect()
    writer.write(client.message("GET", "/healthz", headers={"Connection": None}))
    await asyncio.wait_for(reader.readuntil(b"ok\n"), WAIT)
    writer.write(b"GET /healthz HT")
    assert await asyncio.wait_for(read_all(reader), WAIT) == b""
    await close(writer)


async def test_a_part_of_the_next_request_behind_this_one_has_a_deadline_too(serve: Serve) -> None:
    client = await serve(bounds=bounds(idle=0.5))
    reader, writer = await client.connect()
    first = client.message("GET", "/healthz", headers={"Connection": None})
    fields = {"Authorization": f"Bearer {TOKEN}", "Content-Length": "9"}
    writer.write(first + client.message("POST", "/api/v1/reload", "{}", fields))
    received = await asyncio.wait_for(read_all(reader), WAIT)
    assert received.count(b"HTTP/1.1 ") == 1
    await close(writer)


async def test_a_connection_without_a_request_is_closed(serve: Serve) -> None:
    client = await serve(bounds=bounds(idle=0.1))
    reader, writer = await client.connect()
    assert await asyncio.wait_for(read_all(reader), WAIT) == b""
    await close(writer)


async def test_requests_one_after_the_other_on_one_connection(serve: Serve) -> None:
    client = await serve()
    reader, writer = await client.connect()
    for _ in range(3):
        writer.write(client.message("GET", "/healthz", headers={"Connection": None}))
        assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
    writer.write(client.message("GET", "/healthz", headers={"Connection": None}) * 50)
    for _ in range(50):
        assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
    await close(writer)


async def test_a_stream_outlives_the_deadline_of_requests(
    serve: Serve, control: FakeControl
) -> None:
    client = await serve(bounds=bounds(request=0.2))
    async with client.stream("/api/v1/events/stream") as stream:
        reader, writer = await client.connect()
        writer.write(b"G")
        # The server has cut this one off, which came later.
        await asyncio.wait_for(read_all(reader), WAIT)
        await close(writer)
        control.event("server", "still here")
        assert (await stream.next())[1]["text"] == "still here"


async def lost(client: Client) -> None:
    """Wait until the server has no connection left."""
    await eventually(lambda: client.server.connections == 0)


async def test_who_does_not_read_an_answer_is_cut_off(serve: Serve, control: FakeControl) -> None:
    control.by_pool = FakeControl(backends=3000).by_pool
    client = await serve(bounds=bounds(read=0.3))
    with small_buffers(client) as sock:
        message = client.message("GET", "/api/v1/pools", headers={"Connection": None})
        sock.sendall(message * 5)
        await lost(client)


async def test_who_reads_slowly_is_not(serve: Serve, control: FakeControl) -> None:
    control.by_pool = FakeControl(backends=3000).by_pool
    listening = open_admin_socket("127.0.0.1:0")
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    client = await serve(bounds=bounds(read=0.5), sock=listening)
    with small_buffers(client) as sock:
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, client.message("GET", "/api/v1/pools"))
        received = 0
        async with asyncio.timeout(100):
            while chunk := await loop.sock_recv(sock, 50_000):
                received += len(chunk)
                await asyncio.sleep(0.001)  # it is slow
        assert received > 1_000_000


async def test_who_does_not_read_a_stream_is_cut_off(serve: Serve, control: FakeControl) -> None:
    client = await serve(bounds=bounds(read=0.3))
    with small_buffers(client) as sock:
        sock.sendall(client.message("GET", "/api/v1/connections/stream"))
        await eventually(lambda: len(control.taps) == 1)

        def is_over() -> bool:
            """As long as it is there, there is always more to read."""
            control.end({"client": "-", "listener": "x" * 100_000, "pool": "", "backend": ""})
            return not control.taps

        await eventually(is_over)
        await lost(client)


async def test_a_client_that_leaves_ends_its_stream(serve: Serve, control: FakeControl) -> None:
    client = await serve(bounds=bounds())
    async with client.stream("/api/v1/connections/stream"):
        assert len(control.taps) == 1
    await lost(client)
    await eventually(lambda: not control.taps)


async def test_only_so_many_connections(serve: Serve, control: FakeControl) -> None:
    client = await serve(bounds=bounds(connections=2))
    control.reload_gate = asyncio.Event()
    async with client.stream("/api/v1/events/stream") as stream:
        assert stream.reply.status == 200
        reloading = asyncio.ensure_future(client.change("POST", "/api/v1/reload", {}))
        await control.reload_begun.wait()
        reader, writer = await client.connect()
        received = await asyncio.wait_for(read_all(reader), WAIT)
        assert received.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert received.endswith(b"\r\n\r\ntoo many connections\n")
        await close(writer)
        control.reload_gate.set()
        assert (await reloading).status == 200
    await lost(client)
    assert (await client.get("/healthz")).status == 200


@pytest.mark.parametrize("begun", ["", "GET / HTTP/1.1\r\n"])
async def test_the_oldest_that_asks_nothing_makes_room(serve: Serve, begun: str) -> None:
    client = await serve(bounds=bounds(connections=3))
    async with client.stream("/api/v1/events/stream") as stream:
        silent = [await client.connect() for _ in range(2)]
        for reader, writer in silent:
            writer.write(client.message("GET", "/healthz", headers={"Connection": None}))
            await reader.readuntil(b"ok\n")
            writer.write(begun.encode())
        assert (await client.get("/healthz")).status == 200
        assert await asyncio.wait_for(read_all(silent[0][0]), WAIT) == b""
        assert not silent[1][0].at_eof()
        assert await stream.block() == b": nothing new\n\n"
        for _, writer in silent:
            await close(writer)


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/status", "/api/v1/sessions"])
@pytest.mark.parametrize("keep", [None, "close"])
async def test_who_ends_his_side_has_his_answer(serve: Serve, path: str, keep: str | None) -> None:
    client = await serve(bounds=bounds())
    reader, writer = await client.connect()
    writer.write(client.message("GET", path, headers={"Connection": keep}))
    writer.write_eof()
    received = await asyncio.wait_for(read_all(reader), WAIT)
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    await close(writer)
    await lost(client)


async def test_a_change_is_answered_though_its_client_ended_his_side_long_before(
    serve: Serve, control: FakeControl
) -> None:
    client = await serve(bounds=bounds())
    control.reload_gate = asyncio.Event()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    reader, writer = await client.connect()
    writer.write(client.message("POST", "/api/v1/reload", "{}", headers))
    await control.reload_begun.wait()
    writer.write_eof()
    assert (await client.get("/healthz")).status == 200
    control.reload_gate.set()
    received = await asyncio.wait_for(read_all(reader), WAIT)
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    await close(writer)


async def test_who_ends_his_side_within_a_request_is_let_go(serve: Serve) -> None:
    client = await serve(bounds=bounds())
    for begun in ("", "GET / HTTP/1.1\r\nHo", HEAD.format(client.host) + "Content-Length: 9\r\n"):
        reader, writer = await client.connect()
        writer.write(begun.encode())
        writer.write_eof()
        await asyncio.wait_for(read_all(reader), WAIT)
        await close(writer)
    await lost(client)


async def test_only_so_many_streams(serve: Serve) -> None:
    client = await serve(bounds=bounds(streams=2))
    async with contextlib.AsyncExitStack() as streams:
        for _ in range(2):
            stream = await streams.enter_async_context(client.stream("/api/v1/events/stream"))
            assert stream.reply.status == 200
        reply = await client.get("/api/v1/stats/stream")
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    await lost(client)
    async with client.stream("/api/v1/stats/stream") as stream:
        assert stream.reply.status == 200


async def test_closing_ends_streams_and_takes_no_notice_of_clients(
    control: FakeControl,
) -> None:
    server = AdminServer(control, AdminConfig(bind="127.0.0.1:0"), token=TOKEN, bounds=bounds())
    await server.start()
    client = Client(server)
    address = server.socket.getsockname()
    async with client.stream("/api/v1/connections/stream") as stream:
        half = await client.connect()
        half[1].write(b"PUT / HTTP/1.1\r\n")
        idle = await client.connect()
        with small_buffers(client) as deaf:
            deaf.sendall(client.message("GET", "/api/v1/pools", headers={"Connection": None}) * 99)
            await stream.block()
            await asyncio.wait_for(server.close(), WAIT)
        assert control.taps == []
        assert await stream.reader.read() == b"0\r\n\r\n"
        for reader, writer in (half, idle):
            assert await asyncio.wait_for(read_all(reader), WAIT) == b""
            await close(writer)
    with pytest.raises(ConnectionRefusedError), socket.create_connection(address):
        pass


async def test_who_has_just_connected_is_answered_when_the_port_is_handed_over() -> None:
    deadlines = Deadlines(idle=HOURS, hand_over=HOURS)
    config = AdminConfig(bind="127.0.0.1:0")
    server = AdminServer(FakeControl(), config, token=TOKEN, bounds=Bounds(deadlines=deadlines))
    await server.start()
    client = Client(server)
    before = await client.connect()
    before[1].write(client.message("GET", "/healthz", headers={"Connection": None}))
    await before[0].readuntil(b"ok")
    reader, writer = await client.connect()
    async with client.stream("/api/v1/events/stream") as stream:
        await eventually(lambda: server.connections == 3)
        closing = asyncio.create_task(server.close(handed_over=True), name="close")
        # Streams are ended before anybody else: when this client knows, it has gone on.
        assert (await asyncio.wait_for(read_all(stream.reader), WAIT)).endswith(b"0\r\n\r\n")
        writer.write(client.message("GET", "/healthz", headers={}))
        assert (await asyncio.wait_for(read_all(reader), WAIT)).startswith(b"HTTP/1.1 200")
        await asyncio.wait_for(closing, WAIT)
    for each in (writer, before[1]):
        await close(each)


def test_nothing_wakes_it_up_when_nobody_asks() -> None:
    waits_for_good = threading.Event()
    served = threading.Event()

    class Selector(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is None and served.is_set():
                waits_for_good.set()
            return super().select(timeout)

    async def life() -> None:
        config = AdminConfig(bind="127.0.0.1:0")
        server = AdminServer(FakeControl(), config, token=TOKEN, bounds=bounds())
        await server.start()
        client = Client(server)
        assert (await client.get("/api/v1/status")).status == 200
        async with client.stream("/api/v1/stats/stream") as stream:
            await stream.next()
        await lost(client)
        served.set()
        asleep = loop.create_future()

        def watch() -> None:
            loop.call_soon_threadsafe(asleep.set_result, waits_for_good.wait(WAIT))

        threading.Thread(target=watch, daemon=True).start()
        assert await asleep
        await server.close()

    loop = asyncio.SelectorEventLoop(Selector())
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(life())


# -- what is no request ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        b"GET /api/v1/pools/%zz HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET /api/v1/pools/% HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET /api/v1/pools/%00 HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET /api/v1/pools/%ff%fe HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET /api/v1/pools/\xff\xfe HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET /api/v1/pools/\x00 HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET /api/v1/pools/" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET /api/v1/status?" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET /api/v1/status?%ff=1 HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET /api/v1/status?%zz=1 HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET http://evil.example/api/v1/status HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET http://[::1/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"CONNECT evil.example:80 HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET api HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET /static/../server.py HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET /static/%2e%2e/server.py HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET /static/..%2fserver.py HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET /static//etc/passwd HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: {host}\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: {host}\r\n\r\n",
        b"GET /\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: {host}\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: {host}\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: {host}\r\n X: folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : {host}\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: {host}\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"
        b"\r\n",
        b"POST /api/v1/reload HTTP/1.1\r\nHost: {host}\r\nExpect: nonsense\r\n\r\n",
        b"POST /api/v1/reload HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_the_clients_fault(
    client: Client, caplog: pytest.LogCaptureFixture, message: bytes
) -> None:
    whole = message.replace(b"{host}", client.host.encode()).replace(b"{token}", TOKEN.encode())
    message = whole.replace(b"\r\nHost", b"\r\nConnection: close\r\nHost", 1)
    reply = await client.send(message)
    assert 400 <= reply.status < 500
    assert b"Traceback" not in reply.body
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert (await client.get("/healthz")).status == 200


async def test_any_bytes_leave_the_server_as_it_is(client: Client) -> None:
    for size in (1, 10, 1000, 100_000):
        reader, writer = await client.connect()
        writer.write(bytes(n * 7 % 256 for n in range(size)))
        writer.write_eof()
        await asyncio.wait_for(read_all(reader), WAIT)
        await close(writer)
    assert (await client.get("/healthz")).status == 200


async def test_a_reset_in_the_middle(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    fields = {"Authorization": f"Bearer {TOKEN}", "Content-Length": "9"}
    whole = client.message("GET", "/api/v1/pools")
    for part in (b"", b"GET / HT", whole, client.message("POST", "/api/v1/reload", "{}", fields)):
        sock = socket.create_connection(client.server.socket.getsockname())
        sock.sendall(part)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
    await lost(client)
    assert (await client.get("/healthz")).status == 200
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]

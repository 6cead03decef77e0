"""Single checks, each against a server that behaves in a way of its own."""

from __future__ import annotations

import asyncio
import errno
import inspect
import os
import resource
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import wraps
from typing import Any

import pytest

from tcplb import __version__
from tcplb.config.models import CheckConfig
from tcplb.control.check_answers import MAX_ANSWER, CheckResult, HttpAnswer
from tcplb.control.checks import Check
from tcplb.control.process import new_event_loop
from tcplb.policy.backend import Backend
from tests.dataplane.harness import open_fds, other_tasks
from tests.peers import (
    PATIENCE,
    Blackhole,
    Ending,
    Net,
    Peer,
    RefusingPort,
    Script,
    Server,
    eventually,
)

SHORT = 0.5
"""Seconds of a check that is to time out."""


def on_uvloop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on the supervisor's event loop with a `Net`; nothing may be left behind."""

    async def life(arguments: dict[str, Any]) -> None:
        before, net = open_fds(), Net()
        try:
            await test(net=net, **arguments)
        finally:
            await net.close()
        await eventually(lambda: open_fds() <= before and not other_tasks())

    @wraps(test)
    def run(**arguments: Any) -> None:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(life(arguments))

    signature = inspect.signature(test)
    others = [value for name, value in signature.parameters.items() if name != "net"]
    vars(run)["__signature__"] = signature.replace(parameters=others)
    return run


def backend(server: Server | RefusingPort | Blackhole) -> Backend:
    return Backend("b1", server.host, server.port)


def http(**settings: Any) -> CheckConfig:
    return CheckConfig(**{"type": "http", "timeout": PATIENCE, **settings})


def send_expect(send: str = "", expect: str = "", timeout: float = PATIENCE) -> CheckConfig:
    return CheckConfig(type="send-expect", send=send, expect=expect, timeout=timeout)


def tcp(timeout: float = PATIENCE) -> CheckConfig:
    return CheckConfig(type="tcp", timeout=timeout)


async def check(config: CheckConfig, target: Backend) -> CheckResult:
    """Do one check as the prober does, its end included."""
    with closing(Check(config, target)) as one:
        result = await one.run()
        await one.farewell()
    return result


def say(*pieces: bytes, then: Ending | None = "fin") -> Script:
    """Return the script of a server that says some things, ends, and waits for the other end."""

    async def script(peer: Peer) -> None:
        for piece in pieces:
            await peer.send(piece)
            await peer.delivered()
        if then == "reset":
            peer.reset()
            return
        if then == "fin":
            peer.fin()
        await peer.until_end()

    return script


async def silent(peer: Peer) -> None:
    """The script of a server that accepts and says nothing."""
    await peer.until_end()


async def for_ever(peer: Peer) -> None:
    """The script of a server whose body has no end."""
    await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        await peer.send(b"x" * 65536)


async def redis(peer: Peer) -> None:
    """The script of a server that knows one command."""
    request = b""
    while data := await peer.receive_some():
        request += data
        while b"\r\n" in request:
            command, _, request = request.partition(b"\r\n")
            await peer.send(b"+PONG\r\n" if command == b"PING" else b"-ERR unknown command\r\n")


# -- tcp ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@on_uvloop
async def test_tcp_passes_when_connected(net: Net, host: str) -> None:
    result = await check(tcp(), backend(net.server(host).serve(silent)))
    assert result.passed
    assert result.reason.startswith("connected in ")


@on_uvloop
async def test_a_name_is_resolved(net: Net) -> None:
    server = net.server().serve(silent)
    assert (await check(tcp(), Backend("b1", "localhost", server.port))).passed
    unknown = await check(tcp(), Backend("b1", "no-such-host.invalid", server.port))
    assert unknown == CheckResult(False, "name not resolved")


@pytest.mark.parametrize("config", [tcp(), http(), send_expect()], ids=lambda c: c.type)
@on_uvloop
async def test_refused(net: Net, config: CheckConfig) -> None:
    assert await check(config, backend(net.refusing())) == CheckResult(False, "refused")


@pytest.mark.parametrize(
    "config",
    [tcp(SHORT), http(timeout=SHORT), send_expect(timeout=SHORT)],
    ids=lambda c: c.type,
)
@on_uvloop
async def test_blackholed(net: Net, config: CheckConfig) -> None:
    result = await check(config, backend(net.blackhole()))
    assert result == CheckResult(False, "timed out after 0.5 s")


# -- http ---------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize(
    ("answer", "settings", "reason"),
    [
        (OK, {}, "status 200"),
        (OK, {"body": "^h.llo$"}, "status 200, and the body matches"),
        (b"HTTP/1.0 204 No Content\r\n\r\n", {"status": "204"}, "status 204"),
        (b"HTTP/1.1 200 OK\n\nhello", {"body": "hello"}, "status 200, and the body matches"),
        (b"HTTP/1.1 503 No\r\n\r\n", {"status": "200,500-599"}, "status 503"),
        (b"HTTP/1.1 200 OK\r\n\r\nno \xff", {"body": "\xff"}, "status 200, and the body matches"),
        (
            b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            {"body": "^hello$"},
            "status 200, and the body matches",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 2 + OK, {"status": "200"}, "status 200"),
        (
            b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello",
            {"body": "hello"},
            "status 200, and the body matches",
        ),
        (
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n\0\1",
            {"status": "101"},
            "status 101",
        ),
    ],
)
@pytest.mark.parametrize("pieces", ["whole", "byte by byte"])
@on_uvloop
async def test_http_passes(
    net: Net, answer: bytes, settings: dict[str, str], reason: str, pieces: str
) -> None:
    size = len(answer) if pieces == "whole" else 1
    script = say(*(answer[at : at + size] for at in range(0, len(answer), size)))
    result = await check(http(**settings), backend(net.server().serve(script)))
    assert result == CheckResult(True, reason)


@pytest.mark.parametrize(
    ("answer", "settings", "reason"),
    [
        (b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\n", {}, "status 503"),
        (b"HTTP/1.1 503 No\r\n\r\nhello", {"body": "hello"}, "status 503"),
        (OK, {"status": "204"}, "status 200"),
        (OK, {"body": "^ello"}, "the body does not match"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", {"body": "hello"}, "the body does not match"),
        (b"220 mail.example ESMTP\r\n", {}, "not HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00", {}, "not HTTP"),
        (b"", {}, "closed before it answered"),
        (b"HTTP/1.1 200 OK\r\nServ", {}, "closed in the middle of the head"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", {}, "closed in the middle of the head"),
        (OK[:-1], {"body": "hell"}, "closed in the middle of the body"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nhello",
            {"body": "hello"},
            "not HTTP",
        ),
        (b"HTTP/1.1 200 OK\r\nx: " + b"x" * MAX_ANSWER, {}, "the head is longer than 64 KiB"),
    ],
)
@on_uvloop
async def test_http_fails(net: Net, answer: bytes, settings: dict[str, str], reason: str) -> None:
    result = await check(http(**settings), backend(net.server().serve(say(answer))))
    assert result == CheckResult(False, reason)


@on_uvloop
async def test_http_reset(net: Net) -> None:
    server = net.server().serve(say(then="reset"))
    result = await check(http(), backend(server))
    # Before the kernel has told that the connection is there, it looks like a refused one.
    assert result in (
        CheckResult(False, "reset before it answered"),
        CheckResult(False, "refused"),
    )


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "no answer in 0.5 s"),
        (b"HTTP/1.1 200", "timed out after 0.5 s in the middle of the head"),
        (OK[:-1], "timed out after 0.5 s in the middle of the body"),
    ],
)
@on_uvloop
async def test_http_times_out(net: Net, said: bytes, reason: str) -> None:
    server = net.server().serve(say(said, then=None))
    result = await check(http(timeout=SHORT, body="hello"), backend(server))
    assert result == CheckResult(False, reason)


@on_uvloop
async def test_what_came_while_the_loop_was_held_up_is_no_time_out(net: Net) -> None:
    server = net.server()
    running = asyncio.create_task(check(http(timeout=SHORT), backend(server)))
    peer = await server.accept()
    await peer.receive_some()
    peer.put(OK)
    time.sleep(2 * SHORT)  # noqa: ASYNC251 - this holds it up
    assert await running == CheckResult(True, "status 200")


@on_uvloop
async def test_a_body_without_end_is_judged_by_its_beginning(net: Net) -> None:
    server = net.server().serve(for_ever)
    assert await check(http(), backend(server)) == CheckResult(True, "status 200")
    assert await check(http(body="y"), backend(server)) == CheckResult(
        False, "the body does not match"
    )


def test_no_more_of_a_body_is_looked_at_than_64_kib() -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    inside = HttpAnswer(http(body="y"))
    assert inside.feed(head + b"x" * (MAX_ANSWER - 2)) is None
    assert inside.feed(b"xyz") == CheckResult(True, "status 200, and the body matches")
    outside = HttpAnswer(http(body="y"))
    assert outside.feed(head + b"x" * MAX_ANSWER + b"y") == CheckResult(
        False, "the body does not match"
    )


@on_uvloop
async def test_head_has_no_body(net: Net) -> None:
    server = net.server().serve(say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", then=None))
    config = http(method="HEAD", body="^$")
    result = await check(config, backend(server))
    assert result == CheckResult(True, "status 200, and the body matches")


@pytest.mark.parametrize(
    ("host", "settings", "expected"),
    [
        ("127.0.0.1", {}, "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{rest}"),
        ("::1", {"path": "/up?x=1"}, "GET /up?x=1 HTTP/1.1\r\nHost: [::1]:{port}\r\n{rest}"),
        ("127.0.0.1", {"host": "a.b"}, "GET / HTTP/1.1\r\nHost: a.b\r\n{rest}"),
        ("127.0.0.1", {"method": "HEAD", "host": "a"}, "HEAD / HTTP/1.1\r\nHost: a\r\n{rest}"),
        (
            "127.0.0.1",
            {"method": "POST", "host": "a"},
            "POST / HTTP/1.1\r\nHost: a\r\n{rest}Content-Length: 0\r\n",
        ),
    ],
)
@on_uvloop
async def test_the_request(net: Net, host: str, settings: dict[str, str], expected: str) -> None:
    server = net.server(host)
    with closing(Check(http(**settings), backend(server))) as one:
        running = asyncio.ensure_future(one.run())
        peer = await server.accept()
        rest = f"User-Agent: tcplb/{__version__}\r\nAccept: */*\r\nConnection: close\r\n"
        whole = (expected.format(port=server.port, rest=rest) + "\r\n").encode()
        assert await peer.receive(len(whole)) == whole
        await peer.send(OK)
        assert (await running).passed
        farewell = asyncio.ensure_future(one.farewell())
        assert await peer.ending() == "fin"
        peer.fin()
        await farewell


# -- send-expect --------------------------------------------------------------------------------


@on_uvloop
async def test_redis(net: Net) -> None:
    server = backend(net.server().serve(redis))
    passed = await check(send_expect("PING\r\n", "\\+PONG"), server)
    assert passed == CheckResult(True, "the answer matches")
    failed = await check(send_expect("PONG\r\n", "\\+PONG", SHORT), server)
    assert failed == CheckResult(
        False, "the answer does not match in 0.5 s: b'-ERR unknown command\\r\\n'"
    )


@pytest.mark.parametrize(
    ("said", "expect", "result"),
    [
        ([b"220 mail ESMTP\r\n"], "220 ", CheckResult(True, "the answer matches")),
        ([b"2", b"2", b"0", b" "], "220 ", CheckResult(True, "the answer matches")),
        ([b"\0"], "", CheckResult(True, "the answer matches")),
        ([b"\xff\xfe"], "\xff", CheckResult(True, "the answer matches")),
        ([], "", CheckResult(False, "closed before it answered")),
        ([], ".*", CheckResult(False, "closed before it answered")),
        ([b"554 no\r\n"], "220 ", CheckResult(False, r"the answer does not match: b'554 no\r\n'")),
        ([b"\n220 "], ".*220", CheckResult(False, r"the answer does not match: b'\n220 '")),
        ([b"x" * 41], "y", CheckResult(False, f"the answer does not match: b'{'x' * 40}'...")),
        (
            [b"x" * MAX_ANSWER + b"y"],
            "x*y",
            CheckResult(False, f"the answer does not match: b'{'x' * 40}'..."),
        ),
    ],
)
@on_uvloop
async def test_banners(net: Net, said: list[bytes], expect: str, result: CheckResult) -> None:
    assert await check(send_expect("", expect), backend(net.server().serve(say(*said)))) == result


@on_uvloop
async def test_accepting_and_silent(net: Net) -> None:
    server = backend(net.server().serve(silent))
    result = await check(send_expect(timeout=SHORT), server)
    assert result == CheckResult(False, "no answer in 0.5 s")


# -- the end of the connection ------------------------------------------------------------------


@pytest.mark.parametrize("config", [tcp(), send_expect()], ids=lambda c: c.type)
@on_uvloop
async def test_a_fin_ends_it_though_something_is_unread(net: Net, config: CheckConfig) -> None:
    server = net.server()
    with closing(Check(config, backend(server))) as one:
        running = asyncio.ensure_future(one.run())
        peer = await server.accept()
        await peer.send(b"220 mail\r\n")
        await peer.delivered()
        assert (await running).passed
        await peer.send(b"250 more\r\n")
        farewell = asyncio.ensure_future(one.farewell())
        assert await peer.ending() == "fin"
        await peer.send(b"221 bye\r\n")
        peer.fin()
        await farewell
    assert await peer.ending() == "fin"


@on_uvloop
async def test_one_that_does_not_end_its_direction_is_left(net: Net) -> None:
    server = net.server()
    with closing(Check(tcp(), backend(server))) as one:
        assert (await one.run()).passed
        peer = await server.accept()
        await one.farewell()
    assert await peer.ending() == "fin"


@pytest.mark.parametrize("when", ["connecting", "waiting", "ending"])
@on_uvloop
async def test_cancelled(net: Net, when: str) -> None:
    """(`on_uvloop` counts the descriptors.)"""
    target: Server | Blackhole = net.blackhole() if when == "connecting" else net.server()
    config = tcp() if when == "ending" else send_expect()
    ran = asyncio.Event()

    async def whole() -> None:
        with closing(Check(config, backend(target))) as one:
            await one.run()
            ran.set()
            await one.farewell()

    task = asyncio.create_task(whole())
    if isinstance(target, Server):
        await target.accept()
    if when == "ending":
        await ran.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@on_uvloop
async def test_no_descriptor_left_is_not_the_backends_fault(net: Net) -> None:
    server = net.server()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    with closing(Check(tcp(), backend(server))) as one:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
        try:
            with pytest.raises(OSError, match="Too many open files") as caught:
                await one.run()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        await one.farewell()  # of nothing
    assert caught.value.errno == errno.EMFILE

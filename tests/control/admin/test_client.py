from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
from contextlib import aclosing
from pathlib import Path

import pytest
import trustme

from tcplb.config.admin import AdminConfig
from tcplb.control.admin.client import AdminClient
from tcplb.control.admin.client_address import parse_admin_address
from tcplb.control.admin.client_errors import (
    AdminError,
    RefusedError,
    Token,
    UnreachableError,
    read,
)
from tcplb.control.admin.client_stream import Message
from tcplb.control.admin.models import Closed, Problem, Status
from tcplb.control.admin.server import AdminServer
from tcplb.errors import ConfigError, TcplbError
from tests.control.admin.fake import FakeControl
from tests.control.admin.scripted import Answer, Scripted, hang, http, problem, stream, then_hang
from tests.processes import WAIT, free_port

SECRET = "a-token-for-the-tests-of-the-client"  # noqa: S105
NO_TOKEN = Token(None, "it was not looked for")
PATH = ("status",)
Filters = dict[str, str | int | None]


def client_of(
    address: str,
    *,
    token: Token = NO_TOKEN,
    timeout: float = WAIT,
    silence: float = WAIT,
    delays: tuple[float, ...] = (0, 0),
    tls: ssl.SSLContext | None = None,
) -> AdminClient:
    where = parse_admin_address(address)
    return AdminClient(where, token, timeout=timeout, silence=silence, delays=delays, tls=tls)


async def asked(address: str, **options: object) -> str:
    async with client_of(address, **options) as client:  # type: ignore[arg-type]
        return await client.ask("GET", PATH)


async def failure(address: str, **options: object) -> str:
    with pytest.raises(UnreachableError) as caught:
        await asked(address, **options)
    return str(caught.value)


async def refusal(answer: Answer, **options: object) -> TcplbError:
    with Scripted(answer) as server, pytest.raises(TcplbError) as caught:
        await asked(server.address, **options)
    assert not isinstance(caught.value, UnreachableError)
    return caught.value


# -- one answer -------------------------------------------------------------------------------


async def test_an_answer() -> None:
    with Scripted(http(200, '{"a": 1}')) as server:
        assert await asked(server.address) == '{"a": 1}'
    assert server.requests[0].startswith("GET /api/v1/status HTTP/1.1")
    assert server.header("Host") == server.address
    assert server.header("Authorization") is None


async def test_names_and_queries_are_encoded() -> None:
    with Scripted(http(200, "{}")) as server:
        async with client_of(server.address) as client:
            path = ("backends", "a/b?", "[::1]:80 %ü", "..")
            query: dict[str, str | int | None] = {
                "pool": "a&b=c",
                "limit": 5,
                "client": None,
                "line": "GET \udcff",
            }
            await client.ask("GET", path, query=query)
    assert server.requests[0].split()[1] == (
        "/api/v1/backends/a%2Fb%3F/%5B%3A%3A1%5D%3A80%20%25%C3%BC/.."
        "?pool=a%26b%3Dc&limit=5&line=GET%20%FF"
    )


@pytest.mark.parametrize(("method", "body"), [("PUT", {"weight": 1}), ("DELETE", None)])
async def test_a_change_is_json_and_has_the_token(method: str, body: dict[str, int] | None) -> None:
    with Scripted(http(201, "{}")) as server:
        async with client_of(server.address, token=Token(SECRET, "x")) as client:
            await client.ask(method, PATH, body=body)
    assert server.header("Content-Type") == "application/json"
    assert server.header("Authorization") == f"Bearer {SECRET}"


async def test_the_token_is_not_sent_in_the_clear() -> None:
    with Scripted(problem(401, "no")) as server:
        # Reached by loopback, but who knows what such a bind is in front of.
        address = f"0.0.0.0:{server.port}"
        async with client_of(address, token=Token(SECRET, "x")) as client:
            with pytest.raises(RefusedError, match="in the clear: use https://"):
                await client.ask("PUT", PATH)
    assert server.header("Authorization") is None


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (problem(400, "bad limit"), "^bad limit$"),
        (problem(401, "no"), "wants its token for this, and there is none: it was not looked for"),
        (problem(403, "not from there"), "does not allow this: not from there"),
        (problem(404, "no pool is called x"), "^no pool is called x$"),
        (problem(409, "it is there already"), "^it is there already$"),
        (
            problem(421, "no such host"),
            r"does not go by that name \(no such host\).*\[admin\] hosts",
        ),
        (problem(429, "too many"), "^too many$"),
        (problem(500, "a bug"), r"its log says why \(a bug\)"),
        (problem(503, "too many streams"), "^too many streams$"),
        (http(404, "<html>", "text/html"), r"does not answer like .* \(HTTP status 404\)"),
        (http(404, "<html>", "application/problem+json"), "HTTP status 404"),
        (http(302, "", more="Location: http://127.0.0.1:1/\r\n"), "HTTP status 302"),
        (problem(404, r"\u001b[31mred\u202e"), r"^\\x1b\[31mred\\u202e$"),
    ],
)
async def test_a_refusal_in_words(answer: bytes, says: str) -> None:
    error = await refusal(answer)
    assert isinstance(error, RefusedError)
    assert re.search(says, str(error)), str(error)


async def test_a_wrong_token_is_named_by_where_it_is_from() -> None:
    error = await refusal(problem(401, "no"), token=Token(SECRET, "TCPLB_ADMIN_TOKEN"))
    assert str(error).endswith("has another token than that of TCPLB_ADMIN_TOKEN")
    assert SECRET not in str(error)


async def test_what_is_wrong_with_a_config_is_what_check_says() -> None:
    problems = '[{"where": "a.toml:3", "path": "log.level", "message": "is wrong"}]'
    error = await refusal(problem(422, "2 problems", problems))
    assert isinstance(error, ConfigError)
    assert str(error) == "a.toml:3: log.level: is wrong"


# -- no answer --------------------------------------------------------------------------------


async def test_nobody_listens() -> None:
    address = f"127.0.0.1:{free_port()}"
    assert await failure(address) == (
        f"cannot connect to {address}: Connection refused; is tcplb running with an admin port "
        "there? see [admin] bind, and --admin"
    )


async def test_no_unix_socket(tmp_path: Path) -> None:
    message = await failure(f"unix:{tmp_path}/x.sock")
    assert f"cannot connect to unix:{tmp_path}/x.sock: No such file or directory;" in message


async def test_no_such_host() -> None:
    message = await failure("no-such-host.invalid:9091")
    assert message.startswith("cannot connect to no-such-host.invalid:9091: ")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (hang, "has said nothing for 0.05 s"),
        (then_hang(http(200, "{}")[:-1]), "has said nothing for 0.05 s"),
    ],
)
async def test_a_balancer_that_does_not_answer(answer: Answer, says: str) -> None:
    with Scripted(answer) as server:
        assert says in await failure(server.address, timeout=0.05)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "has hung up without an answer; does it want https://?"),
        (http(200, '{"a": 1}')[:-3], "the connection to .* was lost"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "does not answer like an admin port of tcplb; .*https://"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "does not answer like an admin port|was lost"),
        (http(200, "<html>", "text/html"), "does not answer like an admin port"),
        (
            b"HTTP/1.1 200 x\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n\xff",
            "sent what cannot be read",
        ),
    ],
)
async def test_an_answer_that_is_none(answer: bytes, says: str) -> None:
    with Scripted(answer) as server:
        message = await failure(server.address)
    assert re.search(says, message), message


async def test_it_is_used_as_a_context() -> None:
    with pytest.raises(RuntimeError, match="outside its context"):
        await client_of("127.0.0.1:1").ask("GET", PATH)


# -- probes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "body"), [(200, "ready\nmore"), (503, "not ready: \x1b[1m")])
async def test_a_probe_is_a_status_and_a_line(status: int, body: str) -> None:
    with Scripted(http(status, body, "text/plain")) as server:
        async with client_of(server.address) as client:
            assert await client.probe("/readyz") == (
                status,
                body.partition("\n")[0].replace("\x1b", "\\x1b"),
            )
    assert server.requests[0].startswith("GET /readyz HTTP/1.1")


# -- TLS and Unix sockets, with the real server --------------------------------------------------


async def test_over_tls(control: FakeControl, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    config = AdminConfig(
        bind="127.0.0.1:0",
        tls_certificate=str(tmp_path / "cert.pem"),
        tls_key=str(tmp_path / "key.pem"),
    )
    server = AdminServer(control, config, token=SECRET)
    await server.start()
    try:
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        assert read(Status, await asked(server.address, tls=trusting)).pid == 4711
        assert "certificate is not to be trusted" in await failure(server.address)
        assert "does it want https://?" in await failure(server.address.replace("https", "http"))
    finally:
        await server.close()


async def test_https_where_there_is_no_tls() -> None:
    with Scripted(http(200, "{}"), greets=True) as server:
        message = await failure(f"https://{server.address}")
    assert "it does not speak TLS" in message


async def test_over_a_unix_socket(control: FakeControl, tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/admin.sock"
    server = AdminServer(control, AdminConfig(bind=bind), token=SECRET)
    await server.start()
    try:
        async with client_of(bind, token=Token(SECRET, "x")) as client:
            await client.ask("DELETE", ("sessions", "1-3"))
    finally:
        await server.close()
    assert control.closed == ["1-3"]


# -- what an answer is read as ------------------------------------------------------------------


def test_what_a_newer_balancer_says_beyond_is_left_out() -> None:
    text = json.dumps(
        {"title": "t", "status": 400, "detail": "d", "new": 1, "type": "x"}
        | {"problems": [{"where": "w", "path": "p", "message": "m", "line": 3}] * 2}
    )
    assert [each.where for each in read(Problem, text).problems] == ["w", "w"]


@pytest.mark.parametrize("text", ["", "nothing", "[]", '{"id": 5}', '{"new": 1}'])
def test_another_thing_is_none(text: str) -> None:
    with pytest.raises(AdminError, match="is the balancer another version"):
        read(Closed, text)


# -- streams ------------------------------------------------------------------------------------


async def collected(
    address: str, number: int, *, last: str | None = None, **options: object
) -> tuple[list[Message], list[tuple[str, int]]]:
    """Return so many messages, and what was told of losses."""
    lost: list[tuple[str, int]] = []
    found: list[Message] = []
    async with client_of(address, **options) as client:  # type: ignore[arg-type]
        events = client.stream(
            ("events", "stream"), last=last, on_lost=lambda why, left: lost.append((why, left))
        )
        async with aclosing(events) as messages:
            async for message in messages:
                found.append(message)
                if len(found) == number:
                    break
    return found, lost


async def test_a_lost_stream_goes_on_where_it_was() -> None:
    first = stream("id: 1\ndata: a\n\n", "id: 2\ndata: b\n\nid: 3\ndata: half")
    with Scripted(first, stream(), stream("id: 3\ndata: c\n\n")) as server:
        found, lost = await collected(server.address, 3)
    assert found == [Message("a", "1"), Message("b", "2"), Message("c", "3")]
    assert [server.header("Last-Event-ID", n) for n in range(3)] == [None, "2", "2"]
    assert server.header("Accept") == "text/event-stream"
    assert [left for _, left in lost] == [2, 1]
    assert all("was lost" in why for why, _ in lost)


async def test_a_stream_begins_behind_what_is_known() -> None:
    with Scripted(stream("id: 9\ndata: a\n\n")) as server:
        await collected(server.address, 1, last="8")
    assert server.header("Last-Event-ID") == "8"


async def test_a_stream_that_the_balancer_ends_is_opened_again() -> None:
    ended = stream("data: a\n\n") + b"0\r\n\r\n"
    with Scripted(ended) as server:
        found, lost = await collected(server.address, 2)
    assert found == [Message("a", None)] * 2
    assert lost == [(f"{server.address} has ended the stream", 2)]


async def test_each_message_gives_new_attempts() -> None:
    with Scripted(stream("data: a\n\n")) as server:
        found, lost = await collected(server.address, 5)
    assert len(found) == 5
    assert {left for _, left in lost} == {2}


async def test_it_gives_up() -> None:
    with (
        Scripted(stream("data: a\n\n"), stream()) as server,
        pytest.raises(UnreachableError, match="was lost; gave up after 2 attempts"),
    ):
        await collected(server.address, 2)
    assert len(server.requests) == 3


async def test_a_balancer_that_comes_back_busy_is_asked_again() -> None:
    first = stream("data: a\n\n")
    with Scripted(first, problem(503, "too many streams"), first) as server:
        _, lost = await collected(server.address, 2)
    assert lost[1] == ("too many streams", 1)


@pytest.mark.parametrize(
    "answers", [(problem(404, "no"),), (stream("data: a\n\n"), problem(404, "no"))]
)
async def test_a_stream_that_is_refused_is_not_asked_for_again(answers: tuple[bytes, ...]) -> None:
    with Scripted(*answers) as server, pytest.raises(RefusedError, match=r"^no$"):
        await collected(server.address, 2)
    assert len(server.requests) == len(answers)


async def test_without_a_connection_to_begin_with_it_does_not_try_again() -> None:
    lost: list[str] = []
    async with client_of(f"127.0.0.1:{free_port()}") as client:
        with pytest.raises(UnreachableError, match="cannot connect"):
            async for _ in client.stream(PATH, on_lost=lambda why, _: lost.append(why)):
                pass
    assert lost == []


async def test_a_busy_balancer_is_not_waited_for_to_begin_with() -> None:
    with (
        Scripted(problem(503, "too many streams")) as server,
        pytest.raises(RefusedError, match="too many streams"),
    ):
        await collected(server.address, 1)
    assert len(server.requests) == 1


async def test_a_stream_that_says_nothing_any_more_is_lost() -> None:
    with Scripted(then_hang(stream("data: a\n\n"))) as server:
        found, lost = await collected(server.address, 2, silence=0.05)
    assert len(found) == 2
    assert lost == [(f"{server.address} has said nothing for 0.05 s", 2)]


async def test_a_stream_may_be_silent_for_longer_than_an_answer() -> None:
    later = asyncio.Event()
    loop = asyncio.get_running_loop()

    def answer(client: socket.socket) -> None:
        client.sendall(stream())
        asyncio.run_coroutine_threadsafe(later.wait(), loop).result(WAIT)
        client.sendall(b"9\r\ndata: a\n\n\r\n")

    with Scripted(answer) as server:
        reading = asyncio.create_task(collected(server.address, 1, timeout=0.2))
        done, _ = await asyncio.wait([reading], timeout=0.5)
        later.set()
        assert not done
        assert (await reading)[1] == []


async def test_a_stream_has_to_begin_in_time() -> None:
    with Scripted(hang) as server, pytest.raises(UnreachableError, match=r"nothing for 0\.05 s"):
        await collected(server.address, 1, timeout=0.05)


async def test_something_that_is_no_stream() -> None:
    with (
        Scripted(http(200, "{}")) as server,
        pytest.raises(UnreachableError, match="does not answer like"),
    ):
        await collected(server.address, 1)


async def test_a_stream_of_the_real_server(control: FakeControl) -> None:
    server = AdminServer(control, AdminConfig(bind="127.0.0.1:0"), token=SECRET)
    await server.start()
    try:
        control.event("server", "one")
        found, _ = await collected(server.address, 2, last="0")
        assert [json.loads(message.data)["text"] for message in found][1] == "one"
        assert [message.id for message in found] == ["1", "2"]
        text = await asked(server.address)
        assert read(Status, text).state == "serving"
    finally:
        await server.close()

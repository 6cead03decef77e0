from __future__ import annotations

import base64
import logging
import socket
from itertools import count

import pytest

from tcplb.config.admin import AdminConfig
from tcplb.control.admin.security import FAILURES_A_SECOND, KnownHosts
from tests.control.admin.client import TOKEN, Client, Reply
from tests.control.admin.conftest import Serve
from tests.control.admin.fake import FakeControl

WEIGHT = "/api/v1/backends/web/b1/weight"
BODY = '{"weight": 7}'
BEARER = f"Bearer {TOKEN}"


async def put(client: Client, **headers: str | None) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.ask("PUT", WEIGHT, BODY, {"Authorization": BEARER} | named)


def weight(control: FakeControl) -> int:
    return control.by_pool["web"]["b1"].weight


# -- the Host header ---------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
async def test_names_of_the_server(client: Client, host: str) -> None:
    assert (await client.get("/healthz", Host=f"{host}:{client.port}")).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{port}",
        "evil.example",
        "localhost",
        "localhost:1",
        "127.0.0.1.evil.example:{port}",
        "127.0.0.2:{port}",
        "localhost:{port}:{port}",
        "localhost.:{port}",
        "user@localhost:{port}",
        "localhost:{port}/x",
        "",
        "[::1",
        "localhost:0{port}",
    ],
)
async def test_other_names_are_refused(client: Client, host: str) -> None:
    reply = await client.get("/api/v1/status", Host=host.format(port=client.port))
    assert reply.status in (400, 421)
    assert "version" not in reply.json()


async def test_a_rebound_name_is_told_apart_by_its_status(client: Client) -> None:
    reply = await client.get("/", Host=f"evil.example:{client.port}")
    assert reply.status == 421
    assert reply.detail == (
        f'this server is not called "evil.example:{client.port}"; if it is, add that to admin.hosts'
    )


async def test_the_right_token_does_not_help_under_another_name(
    client: Client, control: FakeControl
) -> None:
    assert (await put(client, Host="evil.example")).status == 421
    assert weight(control) == 1


async def test_without_a_host(client: Client) -> None:
    assert (await client.get("/healthz", Host=None)).status == 400
    assert (await client.send(b"GET /healthz HTTP/1.0\r\n\r\n")).status == 400


async def test_with_two_hosts(client: Client) -> None:
    twice = f"Host: {client.host}\r\nHost: evil.example\r\n"
    message = f"GET /api/v1/status HTTP/1.1\r\n{twice}Connection: close\r\n\r\n"
    assert (await client.send(message.encode())).status == 400


async def test_hosts_of_the_settings(serve: Serve) -> None:
    hosts = ("lb.example", "other.example:443")
    client = await serve(AdminConfig(bind="127.0.0.1:0", hosts=hosts))
    for host, status in {
        "lb.example": 200,
        "LB.example:8443": 200,
        "other.example:443": 200,
        "other.example": 421,
        "other.example:444": 421,
        "x.lb.example": 421,
    }.items():
        assert (await client.get("/healthz", Host=host)).status == status, host


async def test_of_a_host_name_of_the_settings(serve: Serve) -> None:
    client = await serve(AdminConfig(bind="localhost:0"))
    assert client.server.socket.family == socket.AF_INET
    assert (await client.get("/healthz", Host=f"localhost:{client.port}")).status == 200


@pytest.mark.parametrize(("port", "is_known"), [(80, True), (443, True), (9091, False)])
def test_the_usual_ports_may_be_left_out(port: int, is_known: bool) -> None:
    hosts = KnownHosts(["localhost"], port, more=[], any_address=False)
    assert ("localhost" in hosts) is is_known
    assert f"localhost:{port}" in hosts


def test_a_server_on_all_addresses_has_any_address_for_a_name() -> None:
    hosts = KnownHosts(["localhost"], 9091, more=[], any_address=True)
    assert "192.0.2.7:9091" in hosts
    assert "[2001:db8::1]:9091" in hosts
    assert "192.0.2.7:9092" not in hosts
    assert "evil.example:9091" not in hosts
    assert "[:::1]:9091" not in hosts


# -- pages of other sites -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://localhost:1",
        "http://127.0.0.1:{port}.evil.example",
        "http://127.0.0.1:{port}@evil.example",
        "file://",
        "",
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}",  # known, but not the one that the request is for
        "ftp://127.0.0.1:{port}",
    ],
)
async def test_other_origins_are_refused(
    client: Client, control: FakeControl, method: str, origin: str
) -> None:
    headers = {"Authorization": BEARER, "Origin": origin.format(port=client.port)}
    path, body = (WEIGHT, BODY) if method == "PUT" else ("/api/v1/status", None)
    assert (await client.ask(method, path, body, headers)).status == 403
    assert weight(control) == 1


async def test_its_own_origin(client: Client, control: FakeControl) -> None:
    assert (await put(client, Origin=f"http://{client.host}")).status == 200
    assert weight(control) == 7


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
async def test_what_a_browser_says_of_other_sites(client: Client, site: str) -> None:
    assert (await client.get("/api/v1/status", Sec_Fetch_Site=site)).status == 403
    assert (await put(client, Sec_Fetch_Site=site)).status == 403


@pytest.mark.parametrize("site", ["same-origin", "none"])
async def test_what_a_browser_says_of_its_own_site(client: Client, site: str) -> None:
    assert (await client.get("/api/v1/status", Sec_Fetch_Site=site)).status == 200


async def test_a_link_on_another_site_may_be_followed_but_not_framed(client: Client) -> None:
    headers = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert (await client.get("/", **headers, Sec_Fetch_Dest="document")).status == 200
    assert (await client.get("/", **headers, Sec_Fetch_Dest="iframe")).status == 403
    assert (await put(client, **headers, Sec_Fetch_Dest="document")).status == 403


async def test_no_site_is_allowed_anything_by_cors(client: Client) -> None:
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "PUT"}
    assert (await client.ask("OPTIONS", WEIGHT, headers=headers)).status == 403
    for origin in (None, f"http://{client.host}"):
        reply = await client.ask("OPTIONS", WEIGHT, headers={**headers, "Origin": origin})
        assert reply.status == 405
        assert not [name for name in reply.headers if name.startswith("access-control")]


# -- the token ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        TOKEN,
        f"Token {TOKEN}",
        "Bearer \xff\xfe",
        "Basic " + base64.b64encode(f"any:{TOKEN}".encode()).decode(),
    ],
)
async def test_changes_need_the_token(
    client: Client, control: FakeControl, authorization: str | None
) -> None:
    reply = await put(client, Authorization=authorization)
    assert reply.status == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert weight(control) == 1


async def test_the_token_is_enough(client: Client, control: FakeControl) -> None:
    assert (await put(client, Authorization=f"bEaReR  {TOKEN}")).status == 200
    assert weight(control) == 7


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/v1/backends/web/b1/state"),
        ("PUT", WEIGHT),
        ("POST", "/api/v1/backends/web"),
        ("DELETE", "/api/v1/backends/web/b1"),
        ("DELETE", "/api/v1/sessions/1-1"),
        ("POST", "/api/v1/reload"),
        ("POST", "/api/v1/config/save"),
    ],
)
async def test_every_change_needs_it(
    client: Client, control: FakeControl, method: str, path: str
) -> None:
    assert (await client.ask(method, path, "{}")).status == 401
    assert (control.changed, control.reloads, control.closed) == ([], [], [])


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/v1/status", "/api/v1/config", "/readyz"])
async def test_reading_is_free_on_loopback(serve: Serve, path: str) -> None:
    client = await serve(metrics=lambda: b"x 1\n")
    assert (await client.get(path)).status == 200


async def test_attempts_are_limited_and_the_right_token_never_is(
    serve: Serve, control: FakeControl
) -> None:
    now = [100.0]
    client = await serve(now=lambda: now[0])
    wrong = [(await put(client, Authorization="Bearer x")).status for _ in range(12)]
    assert wrong == [401] * FAILURES_A_SECOND + [429] * 2
    assert (await put(client)).status == 200
    now[0] = 101.0
    assert (await put(client, Authorization="Bearer x")).status == 401


async def test_429_says_when_to_come_again(serve: Serve) -> None:
    client = await serve(now=lambda: 0.0)
    replies = [await put(client, Authorization=None) for _ in range(FAILURES_A_SECOND + 1)]
    assert (replies[-1].status, replies[-1].headers["retry-after"]) == (429, "1")


# -- a port that others can reach -----------------------------------------------------------------


@pytest.fixture
async def open_client(serve: Serve) -> Client:
    """Of a server on all addresses; that this needs TLS is for the settings to say."""
    return await serve(AdminConfig(bind="0.0.0.0:0"))


async def test_an_open_port_needs_the_token_for_everything(open_client: Client) -> None:
    host = f"127.0.0.1:{open_client.port}"
    for path in ("/", "/metrics", "/api/v1/status", "/static/x", "/nothing", "/healthz/"):
        reply = await open_client.get(path, Host=host)
        assert reply.status == 401, path
        assert reply.headers["www-authenticate"] == 'Bearer, Basic realm="tcplb", charset="UTF-8"'


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_but_for_orchestrators(open_client: Client, path: str) -> None:
    assert (await open_client.get(path, Host=f"127.0.0.1:{open_client.port}")).status == 200


async def test_an_open_port_with_the_token(open_client: Client) -> None:
    host = f"127.0.0.1:{open_client.port}"
    basic = "Basic " + base64.b64encode(f"any:{TOKEN}".encode()).decode()
    for authorization in (BEARER, basic):
        reply = await open_client.get("/api/v1/status", Host=host, Authorization=authorization)
        assert reply.status == 200
    for wrong in ("Basic !", "Basic /w==", "Basic " + base64.b64encode(TOKEN.encode()).decode()):
        reply = await open_client.get("/api/v1/status", Host=host, Authorization=wrong)
        assert reply.status == 401


async def test_a_password_that_browsers_add_by_themselves_changes_nothing(
    open_client: Client, control: FakeControl
) -> None:
    basic = "Basic " + base64.b64encode(f"any:{TOKEN}".encode()).decode()
    host = f"127.0.0.1:{open_client.port}"
    assert (await put(open_client, Host=host, Authorization=basic)).status == 401
    assert weight(control) == 1
    assert (await put(open_client, Host=host)).status == 200


# -- headers and the audit log --------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/status", "/nothing", "/%"])
async def test_headers_of_every_answer(client: Client, path: str) -> None:
    headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-frame-options"] == "DENY"
    assert headers["server"] == "tcplb"
    assert headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


async def test_headers_of_a_stream_and_of_what_is_no_http(client: Client) -> None:
    async with client.stream("/api/v1/events/stream") as stream:
        assert stream.reply.headers["x-content-type-options"] == "nosniff"
    for headers in [
        stream.reply.headers,
        (await client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")).headers,
    ]:
        assert headers["server"] == "tcplb"
        assert headers["cache-control"] == "no-store"


def audit(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name == "tcplb.audit"
    ]


async def test_every_change_is_in_the_audit_log(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await put(client)
    await put(client, Authorization="Bearer wrong-wrong-wrong")
    await put(client, Origin="http://evil.example")
    await client.change("DELETE", "/api/v1/backends/web/b9")
    await client.get("/api/v1/status")
    await client.change("PUT", "/nothing")
    lines = audit(caplog)
    assert [level for level, _ in lines] == ["INFO", "WARNING", "WARNING", "WARNING"]
    shown = [line.partition(": ") for _, line in lines]
    assert all(who.startswith("127.0.0.1 port ") for who, _, _ in shown)
    assert [what for _, _, what in shown] == [
        f'PUT {WEIGHT} {{"weight": 7}}: 200',
        f"PUT {WEIGHT} -: 401 (this is not the token)",
        f'PUT {WEIGHT} -: 403 (pages of "http://evil.example" may not ask this)',
        "DELETE /api/v1/backends/web/b9 -: 404 (no backend is called b9)",
    ]


async def test_no_line_has_the_token_or_more_than_one_line(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await put(client)
    await client.ask(
        "PUT", WEIGHT, '{"weight":\n"\x1b[31m"}' + " " * 5000, {"Authorization": BEARER}
    )
    assert TOKEN not in caplog.text
    ((_, first), (_, second)) = audit(caplog)
    assert r'{"weight":\n"\x1b[31m"}' in second
    assert all(line.isprintable() and len(line) < 2000 for line in (first, second))


async def test_a_flood_of_wrong_tokens_is_no_flood_of_lines(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = count()
    now = [next(seconds)]
    client = await serve(now=lambda: now[0])
    for _ in range(2):
        now[0] = next(seconds)
        for _ in range(FAILURES_A_SECOND + 5):
            await put(client, Authorization="Bearer x")
    statuses = [line.rpartition(": ")[2][:3] for _, line in audit(caplog)]
    assert statuses == (["401"] * FAILURES_A_SECOND + ["429"]) * 2

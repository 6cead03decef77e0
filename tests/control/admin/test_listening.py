# ruff: noqa: ASYNC221, ASYNC240 - tests may wait for a file
from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
import subprocess
from pathlib import Path

import pytest
import trustme

from tcplb.config.admin import AdminConfig
from tcplb.control.admin.connection import Deadlines
from tcplb.control.admin.listening import open_admin_socket
from tcplb.control.admin.server import AdminServer, Bounds
from tcplb.errors import BindError
from tests.control.admin.client import TOKEN, WAIT, Client, close, read_all
from tests.control.admin.conftest import Serve
from tests.control.admin.fake import FakeControl
from tests.peers import eventually


@pytest.fixture
def unix(tmp_path: Path) -> AdminConfig:
    return AdminConfig(bind=f"unix:{tmp_path}/admin.sock")


async def test_a_unix_socket(serve: Serve, unix: AdminConfig, control: FakeControl) -> None:
    client = await serve(unix)
    assert client.server.address == unix.bind
    path = Path(unix.bind.removeprefix("unix:"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (await client.get("/api/v1/status", Host="any.name")).status == 200
    weight = "/api/v1/backends/web/b1/weight"
    assert (await client.ask("PUT", weight, '{"weight": 2}')).status == 401
    assert (await client.change("PUT", weight, {"weight": 2})).status == 200
    assert control.by_pool["web"]["b1"].weight == 2
    await client.server.close()
    assert not path.exists()


async def test_who_asked_on_a_unix_socket(
    serve: Serve, unix: AdminConfig, caplog: pytest.LogCaptureFixture
) -> None:
    client = await serve(unix)
    await client.change("PUT", "/api/v1/backends/web/b1/weight", {"weight": -1})
    (line,) = [each.getMessage() for each in caplog.records if each.name == "tcplb.audit"]
    assert line.startswith(f"uid {os.getuid()} (pid {os.getpid()}): PUT ")


async def test_a_unix_socket_that_was_left_over_is_replaced(
    serve: Serve, unix: AdminConfig
) -> None:
    with open_admin_socket(unix.bind):
        pass
    assert Path(unix.bind.removeprefix("unix:")).is_socket()
    assert (await (await serve(unix)).get("/healthz")).status == 200


async def test_a_unix_socket_in_use_is_not(serve: Serve, unix: AdminConfig) -> None:
    client = await serve(unix)
    with pytest.raises(BindError, match="the socket is in use"):
        await serve(unix)
    assert (await client.get("/healthz")).status == 200


async def test_a_file_in_the_way_stays(serve: Serve, unix: AdminConfig) -> None:
    path = Path(unix.bind.removeprefix("unix:"))
    path.write_text("mine")
    with pytest.raises(BindError, match="a file of that name, which is not a socket"):
        await serve(unix)
    assert path.read_text() == "mine"


async def test_no_such_directory(serve: Serve) -> None:
    with pytest.raises(BindError, match="there is no such directory"):
        await serve(AdminConfig(bind="unix:/nowhere/x.sock"))


async def test_a_port_in_use(serve: Serve) -> None:
    client = await serve()
    with pytest.raises(BindError, match="the address is in use"):
        await serve(AdminConfig(bind=f"127.0.0.1:{client.port}"))


async def test_ipv6(serve: Serve) -> None:
    client = await serve(AdminConfig(bind="[::1]:0"))
    assert client.server.address == f"http://[::1]:{client.port}"
    assert (await client.get("/api/v1/status")).status == 200


async def test_a_socket_that_is_handed_in_and_on(
    serve: Serve, unix: AdminConfig, control: FakeControl
) -> None:
    first = await serve(unix, sock=open_admin_socket(unix.bind))
    copy = socket.socket(fileno=os.dup(first.server.socket.fileno()))
    await first.server.close(handed_over=True)
    second = await serve(unix, sock=copy)
    assert (await second.get("/healthz")).status == 200


async def test_a_server_that_has_not_started_can_be_closed(control: FakeControl) -> None:
    server = AdminServer(control, AdminConfig(), token=TOKEN)
    await server.close()
    with pytest.raises(RuntimeError):
        _ = server.socket


# -- TLS ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def with_tls(authority: trustme.CA, tmp_path: Path) -> AdminConfig:
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    for part in certificate.cert_chain_pems:
        part.write_to_path(tmp_path / "certificate.pem", append=True)
    return AdminConfig(
        bind="127.0.0.1:0",
        tls_certificate=str(tmp_path / "certificate.pem"),
        tls_key=str(tmp_path / "key.pem"),
    )


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_https(serve: Serve, with_tls: AdminConfig, trusting: ssl.SSLContext) -> None:
    server = (await serve(with_tls)).server
    client = Client(server, trusting)
    assert server.address == f"https://127.0.0.1:{client.port}"
    headers = {"Origin": f"https://{client.host}"}
    assert (await client.get("/api/v1/status", **headers)).status == 200
    assert len((await client.get("/api/v1/openapi.json")).body) > 10_000
    async with client.stream("/api/v1/stats/stream") as stream:
        assert (await stream.next())[1]["backends"]


async def test_who_does_not_shake_hands_is_cut_off_and_counted(
    serve: Serve, with_tls: AdminConfig, trusting: ssl.SSLContext
) -> None:
    bounds = Bounds(connections=2, deadlines=Deadlines(request=1.0))
    server = (await serve(with_tls, bounds=bounds)).server
    plain = Client(server)
    silent = [await plain.connect() for _ in range(2)]
    await eventually(lambda: server.connections == 2)
    # They keep nobody out: the older one makes room.
    assert (await Client(server, trusting).get("/healthz")).status == 200
    for reader, writer in silent:
        await asyncio.wait_for(read_all(reader), WAIT)
        await close(writer)
    await eventually(lambda: server.connections == 0)
    assert (await Client(server, trusting).get("/healthz")).status == 200


async def test_http_on_the_port_of_https(serve: Serve, with_tls: AdminConfig) -> None:
    client = await serve(with_tls)
    reader, writer = await client.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200" not in await asyncio.wait_for(read_all(reader), WAIT)
    await close(writer)


@pytest.mark.parametrize("wrong", ["missing", "nonsense", "other key", "locked key"])
async def test_a_certificate_that_is_of_no_use(
    serve: Serve, with_tls: AdminConfig, authority: trustme.CA, wrong: str
) -> None:
    key = Path(str(with_tls.tls_key))
    match wrong:
        case "missing":
            key.unlink()
        case "nonsense":
            key.write_text("nonsense")
        case "other key":
            authority.issue_cert("x").private_key_pem.write_to_path(key)
        case "locked key":
            open_key = key.rename(key.with_suffix(".open"))
            lock = f"openssl pkey -aes128 -passout pass:x -in {open_key} -out {key}"
            subprocess.run(lock.split(), check=True)
    with pytest.raises(BindError, match=r"cannot use the certificate .* with the key "):
        await serve(with_tls)

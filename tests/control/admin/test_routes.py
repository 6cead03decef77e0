# ruff: noqa: PLR0917 - pytest passes fixtures and parameters by name
from __future__ import annotations

import asyncio
import gzip
import json
import logging
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tcplb.config.changes import AddBackend, RemoveBackend, SetState, SetWeight, backend_from_text
from tcplb.control.admin.models import (
    Applied,
    Backends,
    BackendView,
    Closed,
    ConfigDifference,
    ConfigView,
    Events,
    Explanation,
    Pools,
    PoolView,
    Saved,
    Sessions,
    Stats,
    Status,
)
from tcplb.control.admin.page import DIRECTORY, read_files
from tcplb.errors import BindError, ChangeError, ConfigError, Problem, WorkerError
from tests.control.admin.client import TOKEN, Client
from tests.control.admin.conftest import Serve
from tests.control.admin.fake import FIRST_SESSIONS, FakeControl
from tests.peers import eventually

API = "/api/v1"
B1 = f"{API}/backends/web/b1"


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/status", Status),
        ("/pools", Pools),
        ("/pools/web", PoolView),
        ("/backends", Backends),
        ("/backends?pool=db", Backends),
        ("/backends/web/b1", BackendView),
        ("/backends/db/%5B::1%5D:5432", BackendView),
        ("/backends/db/[::1]:5432", BackendView),
        ("/backends/db/%5b%3a%3a1%5d%3a5432", BackendView),
        ("/sessions", Sessions),
        ("/sessions?listener=web&pool=web&client=10.0.0.0/8&limit=1", Sessions),
        ("/events", Events),
        ("/events?after=1", Events),
        ("/stats", Stats),
        ("/config", ConfigView),
        ("/config/diff", ConfigDifference),
        ("/explain", Explanation),
        ("/explain?pool=db&client=::1&first_line=GET%20/%C3%A9%20HTTP/1.1", Explanation),
    ],
)
async def test_reading(client: Client, path: str, model: type[BaseModel]) -> None:
    reply = await client.get(API + path)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    model.model_validate_json(reply.body)


async def test_what_is_read(client: Client, control: FakeControl) -> None:
    assert (await client.get(f"{API}/status")).json()["pid"] == 4711
    assert (await client.get(f"{API}/pools/db")).json()["name"] == "db"
    assert len((await client.get(f"{API}/backends")).json()["backends"]) == 6
    of_db = (await client.get(f"{API}/backends?pool=db")).json()["backends"]
    assert [each["name"] for each in of_db] == ["[::1]:5432", "[::1]:5433"]
    assert (await client.get(f"{API}/backends/db/%5B::1%5D:5433")).json()["name"] == "[::1]:5433"
    control.event("server", "two")
    events = (await client.get(f"{API}/events?after=1")).json()["events"]
    assert [each["text"] for each in events] == ["two"]
    explained = (await client.get(f"{API}/explain?first_line=GET%20/%C3%A9")).json()
    assert (explained["key"], explained["key_from"]) == ("GET /é", "the first line")


async def test_pages_of_sessions(client: Client, control: FakeControl) -> None:
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await client.get(f"{API}/sessions?limit=5{cursor}")).json()
        assert page["total"] == FIRST_SESSIONS
        assert len(page["sessions"]) <= 5
        seen += [each["id"] for each in page["sessions"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == list(control.open_sessions)


@pytest.mark.parametrize("key", ["listener", "pool", "backend", "client"])
async def test_sessions_by(client: Client, control: FakeControl, key: str) -> None:
    wanted = next(iter(control.open_sessions.values()))
    value = str(getattr(wanted, key)).rpartition(":")[0] if key == "client" else wanted.backend
    if key in ("listener", "pool"):
        value = getattr(wanted, key)
    reply = await client.get(f"{API}/sessions?{key}={str(value).replace('[', '%5B')}")
    found = [each["id"] for each in reply.json()["sessions"]]
    assert wanted.id in found
    assert len(found) < FIRST_SESSIONS


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/pools/wbe", 'there is no pool "wbe"; did you mean "web"?'),
        ("/backends?pool=x", 'there is no pool "x"'),
        ("/backends/web/b9", 'there is no backend in pool "web" called "b9"'),
        ("/backends/x/b1", 'there is no pool "x"'),
        ("/explain?pool=x", "there is no pool x; pools: web, db"),
        ("/nothing", "there is nothing under this path"),
        ("/pools/", "there is nothing under this path"),
        ("/pools/a%2Fb", 'there is no pool "a/b"'),
        ("/pools/a%1b[31m", None),
        ("/pools/a%zz", None),
    ],
)
async def test_what_is_not_there(client: Client, path: str, words: str | None) -> None:
    reply = await client.get(API + path)
    if words is None:
        assert reply.status == 400
    else:
        assert (reply.status, reply.detail) == (404, words)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/sessions?limit=0", "limit: Input should be greater than or equal to 1"),
        ("/sessions?limit=1001", "limit: Input should be less than or equal to 1000"),
        ("/sessions?limit=x", "limit: "),
        ("/sessions?limit=1&limit=2", "the query has a parameter twice"),
        ("/sessions?limt=1", "limt: "),
        ("/sessions?cursor=x", "the cursor must be one that a page before has given"),
        ("/sessions?client=x", "client: must be an IP address or a network"),
        ("/sessions?pool=", "pool: "),
        ("/sessions?" + "&".join(f"a{n}=1" for n in range(30)), "the query is not valid"),
        ("/status?x=1", "x: "),
        ("/status?x", "the query is not valid"),
        ("/status?%C3=1", "the path is not UTF-8"),
        ("/events?after=-1", "after: "),
        ("/events?after=1.5", "after: "),
        ("/explain?client=x", "'x' does not appear to be an IPv4 or IPv6 address"),
        ("/connections/stream?termination=S", "termination: "),
        ("/connections/stream?client=x", "client: "),
        ("/events/stream?after=x", "after: "),
    ],
)
async def test_a_wrong_query(client: Client, path: str, words: str) -> None:
    reply = await client.get(API + path)
    assert reply.status == 400
    assert reply.detail.startswith(words)


# -- changes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("PUT", f"{B1}/state", {"state": "draining"}, (SetState("web", "b1", "draining"), None)),
        (
            "PUT",
            f"{B1}/state",
            {"state": "draining", "timeout": "5m"},
            (SetState("web", "b1", "draining"), 300.0),
        ),
        ("PUT", f"{B1}/weight", {"weight": 0}, (SetWeight("web", "b1", 0), None)),
        (
            "PUT",
            f"{API}/backends/db/%5B::1%5D:5432/weight",
            {"weight": 256},
            (SetWeight("db", "[::1]:5432", 256), None),
        ),
        (
            "POST",
            f"{API}/backends/web",
            {"backend": "b5=127.0.0.1:8085,weight=2"},
            (AddBackend("web", backend_from_text("b5=127.0.0.1:8085,weight=2")), None),
        ),
        ("DELETE", B1, None, (RemoveBackend("web", "b1"), None)),
    ],
)
async def test_changes(
    client: Client, control: FakeControl, method: str, path: str, body: Any, expected: Any
) -> None:
    reply = await client.change(method, path, body)
    assert reply.status == (201 if method == "POST" else 200)
    assert Applied.model_validate_json(reply.body).applied
    assert control.changed == [expected]


async def test_other_operations(client: Client, control: FakeControl) -> None:
    session = next(iter(control.open_sessions))
    reply = await client.change("DELETE", f"{API}/sessions/{session}")
    assert Closed.model_validate_json(reply.body).id == session
    assert control.closed == [session]
    reply = await client.change("POST", f"{API}/reload", {"dry_run": True})
    assert not Applied.model_validate_json(reply.body).applied
    assert control.reloads == []
    reply = await client.change("POST", f"{API}/reload", {"discard_changes": True})
    assert control.reloads == [{"discard_changes": True}]
    await client.change("PUT", f"{B1}/weight", {"weight": 5})
    reply = await client.change("POST", f"{API}/config/save")
    assert Saved.model_validate_json(reply.body).changes == ["backend b1 of pool web: weight 5"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("PUT", f"{B1}/weight", '{"weight": 257}', 422, "weight: Input should be less"),
        ("PUT", f"{B1}/weight", '{"weight": "5"}', 422, "weight: Input should be a valid integer"),
        ("PUT", f"{B1}/weight", '{"weight": 5, "x": 1}', 422, "x: Extra inputs"),
        ("PUT", f"{B1}/weight", "{}", 422, "weight: Field required"),
        ("PUT", f"{B1}/weight", "[]", 422, "Input should be an object"),
        ("PUT", f"{B1}/weight", "", 400, "Invalid JSON"),
        ("PUT", f"{B1}/weight", None, 400, "Invalid JSON"),
        ("PUT", f"{B1}/weight", "{", 400, "Invalid JSON"),
        ("PUT", f"{B1}/weight", b'{"weight": 5, "\xff": 1}', 400, "Invalid JSON"),
        ("PUT", f"{B1}/weight", "[" * 60_000, 400, "Invalid JSON"),
        ("PUT", f"{B1}/weight", " " * 65_537, 413, "the body is larger than 65536 bytes"),
        ("PUT", f"{B1}/state", '{"state": "on"}', 422, "state: "),
        (
            "PUT",
            f"{B1}/state",
            '{"state": "draining", "timeout": "5"}',
            422,
            "must be a duration",
        ),
        ("PUT", f"{API}/backends/web/b9/weight", '{"weight": 5}', 404, "no backend is called b9"),
        ("POST", f"{API}/backends/web", '{"backend": "x"}', 422, "address: must be HOST:PORT"),
        ("POST", f"{API}/backends/web", '{"backend": "b1=a:1"}', 409, "pool web has a backend b1"),
        ("POST", f"{API}/backends/x", '{"backend": "b1=a:1"}', 404, "there is no pool x"),
        ("DELETE", f"{API}/sessions/7-7", None, 404, "there is no open session 7-7"),
        ("POST", f"{API}/config/save", "x", 415, None),
        ("POST", f"{API}/status", "{}", 405, "only GET, HEAD can be done here"),
        ("DELETE", f"{API}/backends/web", None, 405, "only POST can be done here"),
        ("GET", f"{B1}/state", None, 405, "only PUT can be done here"),
        ("PATCH", B1, "{}", 405, "only DELETE, GET, HEAD can be done here"),
    ],
)
async def test_a_change_that_is_refused(
    client: Client,
    control: FakeControl,
    method: str,
    path: str,
    body: str | bytes | None,
    status: int,
    words: str | None,
) -> None:
    headers = {
        "Authorization": f"Bearer {TOKEN}",
        "Content-Type": "text/plain" if words is None else "application/json",
    }
    reply = await client.ask(method, path, body, headers)
    assert reply.status == status
    assert reply.detail.startswith(words or "the Content-Type of a change must be application/json")
    assert control.changed == []
    if status == 405:
        allowed = reply.detail.removeprefix("only ").removesuffix(" can be done here")
        assert reply.headers["allow"] == allowed


async def test_a_body_that_is_compressed(client: Client) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Encoding": "gzip"}
    assert (await client.ask("PUT", f"{B1}/weight", '{"weight": 1}', headers)).status == 415


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_forms_of_pages_are_no_json(client: Client, content_type: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": content_type or None}
    assert (await client.ask("PUT", f"{B1}/weight", '{"weight": 1}', headers)).status == 415


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", B1), ("DELETE", f"{API}/sessions/1-1"), ("POST", f"{API}/config/save")],
)
async def test_a_change_without_a_body_is_said_to_be_json_too(
    client: Client, control: FakeControl, method: str, path: str
) -> None:
    reply = await client.ask(method, path, headers={"Authorization": f"Bearer {TOKEN}"})
    assert reply.status == 415
    assert (control.changed, control.closed) == ([], [])


async def test_the_last_backend(client: Client) -> None:
    path = f"{API}/backends/db/%5B::1%5D:543"
    assert (await client.change("DELETE", f"{path}2")).status == 200
    assert (await client.change("DELETE", f"{path}3")).status == 409


@pytest.mark.parametrize(
    ("error", "status", "level"),
    [
        (ChangeError("it does not fit"), 409, None),
        (BindError("cannot listen"), 409, None),
        (WorkerError("no worker"), 500, "ERROR"),
    ],
)
async def test_a_reload_that_fails(
    client: Client,
    control: FakeControl,
    caplog: pytest.LogCaptureFixture,
    error: Any,
    status: int,
    level: str | None,
) -> None:
    control.reload_error = error
    reply = await client.change("POST", f"{API}/reload", {})
    assert (reply.status, reply.detail) == (status, str(error))
    levels = [record.levelname for record in caplog.records if record.name == "tcplb.admin"]
    assert levels == ([level] if level else [])


async def test_a_file_that_is_wrong(client: Client, control: FakeControl) -> None:
    problem = Problem("tcplb.toml:3", "pools.web", "is wrong")
    control.reload_error = ConfigError([problem, problem])
    reply = await client.change("POST", f"{API}/reload", {})
    assert reply.status == 422
    assert reply.detail == "tcplb.toml:3: pools.web: is wrong\ntcplb.toml:3: pools.web: is wrong"
    assert (
        reply.json()["problems"]
        == [{"where": "tcplb.toml:3", "path": "pools.web", "message": "is wrong"}] * 2
    )


async def test_a_bug_is_logged_and_not_told(
    client: Client, control: FakeControl, caplog: pytest.LogCaptureFixture
) -> None:
    control.status_error = RuntimeError("secret")
    reply = await client.get(f"{API}/status")
    assert (reply.status, "secret" in str(reply.body)) == (500, False)
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.getMessage() == "GET /api/v1/status failed"
    assert record.exc_info is not None


async def test_an_answer_that_is_not_as_its_model_says_is_a_bug(
    client: Client, control: FakeControl
) -> None:
    control.by_pool["web"]["b1"].active = -1
    assert (await client.get(f"{API}/pools")).status == 500


async def test_a_change_goes_on_when_its_client_leaves(
    client: Client, control: FakeControl
) -> None:
    control.reload_gate = asyncio.Event()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    _, writer = await client.connect()
    writer.write(client.message("POST", f"{API}/reload", "{}", headers))
    await control.reload_begun.wait()
    # By a reset: who only ends his side may still want to read the answer.
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    await eventually(lambda: client.server.connections == 0)
    control.reload_gate.set()
    await eventually(lambda: len(control.reloads) == 1)


# -- the rest of the site -----------------------------------------------------------------------


async def test_health_and_readiness(client: Client, control: FakeControl) -> None:
    assert (await client.get("/healthz")).body == b"ok\n"
    assert (await client.get("/readyz")).body == b"ready\n"
    for backend in control.by_pool["db"].values():
        backend.checked = "down"
    reply = await client.get("/readyz")
    assert (reply.status, reply.body) == (503, b"a pool has no usable backend\n")
    control.state = "draining"
    reply = await client.get("/readyz")
    assert (reply.status, reply.body) == (503, b"draining\n")
    assert (await client.get("/healthz")).status == 200


async def test_metrics(serve: Serve) -> None:
    assert (await (await serve()).get("/metrics")).status == 404
    reply = await (await serve(metrics=lambda: b"x 1\n")).get("/metrics")
    assert (reply.status, reply.body) == (200, b"x 1\n")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "content-encoding" not in reply.headers


@pytest.mark.parametrize("accepted", ["gzip", "deflate, GZIP;q=0.5", "br, gzip; q=1.0 , *"])
async def test_metrics_are_compressed_for_who_takes_that(serve: Serve, accepted: str) -> None:
    text = b"x 1\n" * 10_000
    client = await serve(metrics=lambda: text)
    reply = await client.get("/metrics", accept_encoding=accepted)
    assert reply.headers["content-encoding"] == "gzip"
    assert reply.headers["vary"] == "Accept-Encoding"
    assert len(reply.body) < len(text) / 10
    assert gzip.decompress(reply.body) == text


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0", "gzip;q=0.000, br", "nogzip"])
async def test_metrics_are_not_compressed_for_others(serve: Serve, accepted: str) -> None:
    client = await serve(metrics=lambda: b"x 1\n")
    reply = await client.get("/metrics", accept_encoding=accepted)
    assert (reply.headers.get("content-encoding"), reply.body) == (None, b"x 1\n")


@pytest.mark.parametrize("path", ["/", "/healthz", f"{API}/status", f"{API}/openapi.json"])
async def test_head(client: Client, path: str) -> None:
    whole, head = await client.get(path), await client.ask("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    length = head.headers["content-length"]
    assert length == whole.headers["content-length"] == str(len(whole.body))


async def test_the_page(client: Client) -> None:
    reply = await client.get("/")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert b"<title>tcplb</title>" in reply.body
    for name, file in read_files().items():
        reply = await client.get(f"/static/{name}")
        assert (reply.status, reply.body) == (200, file.content)
        assert reply.headers["content-type"] == file.content_type


def test_files_of_a_page(tmp_path: Path) -> None:
    assert list(read_files(tmp_path / "missing")) == ["index.html"]
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "x.js").write_text("1")
    (tmp_path / "secret.py").write_text("2")
    (tmp_path / "index.html").write_text("3")
    files = read_files(tmp_path)
    assert sorted(files) == ["index.html", "vendor/x.js"]
    assert files["vendor/x.js"].content_type == "text/javascript; charset=utf-8"
    assert files["index.html"].content == b"3"
    assert DIRECTORY.name == "dashboard"


async def test_the_document(client: Client) -> None:
    document = json.loads((await client.get(f"{API}/openapi.json")).body)
    assert document["openapi"] == "3.1.0"

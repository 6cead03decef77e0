"""A real balancer with its admin port, and a plain client of that."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tests.processes import WAIT, Running, eventually, tcplb

TOKEN = "a-token-of-the-tests-0123"  # noqa: S105


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class Admin:
    """Asks the admin port at ``127.0.0.1:PORT`` or ``unix:/PATH``."""

    def __init__(self, address: str) -> None:
        self.address = address

    def connect(self) -> socket.socket:
        if self.address.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(WAIT)
            sock.connect(self.address.removeprefix("unix:"))
            return sock
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=WAIT)

    def ask(self, method: str, path: str, body: object = None, token: str | None = TOKEN) -> Reply:
        """Ask for a path as it is, and read all of the answer."""
        content = None if body is None else json.dumps(body).encode()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if method != "GET":
            headers["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection(self._host)
        connection.sock = self.connect()
        try:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            return Reply(response.status, response.read())
        finally:
            connection.close()

    def get(self, *names: str, **query: str | int | None) -> Any:
        """Return what a path below /api/v1 shows."""
        reply = self.ask("GET", _target(names, query))
        assert reply.status == 200, reply
        return reply.json()

    def do(self, method: str, *names: str, status: int = 200, **body: object) -> Any:
        """Change something, and return the answer, which has to have that status."""
        reply = self.ask(method, _target(names, {}), body or None)
        assert reply.status == status, reply
        return reply.json()

    def refused(self, method: str, *names: str, status: int, **body: object) -> str:
        """Ask for what cannot be; return the reason given."""
        return str(self.do(method, *names, status=status, **body)["detail"])

    def backend(self, name: str, pool: str = "web") -> Any:
        return self.get("backends", pool, name)

    @contextmanager
    def stream(self, *names: str, **query: str | int | None) -> Iterator[Iterator[Any]]:
        """Open a stream; yields the messages. It is open when the context is entered."""
        with ExitStack() as stack:
            sock = stack.enter_context(self.connect())
            sock.sendall(
                f"GET {_target(names, query)} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode()
            )
            response = http.client.HTTPResponse(sock)
            stack.callback(response.close)
            response.begin()
            assert response.status == 200
            assert response.readline().startswith(b":")
            yield _messages(response)

    @property
    def _host(self) -> str:
        return "localhost" if self.address.startswith("unix:") else self.address


def _target(names: tuple[str, ...], query: Mapping[str, str | int | None]) -> str:
    path = "/".join(("/api/v1", *(quote(name, safe="") for name in names)))
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def _messages(response: http.client.HTTPResponse) -> Iterator[Any]:
    while line := response.readline():
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


def environment(bind: str = "127.0.0.1:0") -> dict[str, str]:
    """Return what gives a balancer an admin port."""
    return {"TCPLB_ADMIN_BIND": bind, "TCPLB_ADMIN_TOKEN": TOKEN}


def admin_of(lb: Running, *, count: int = 1) -> Admin:
    """Return the client for the last of `count` admin ports that a balancer has told of."""
    found = lb.wait_for(r"admin port on (?:http://)?([^\s,\"]+)", count=count)
    return Admin(found[count - 1][1])


@dataclass(frozen=True)
class Balancer:
    """One that runs."""

    lb: Running
    port: int
    admin: Admin


def ports_of(lb: Running) -> list[int]:
    """Return the ports of all listeners, in the order in which they were told."""
    return [int(match[1]) for match in lb.wait_for(r"listening on \S+:(\d+): listener")]


@contextmanager
def balancer_with_admin(
    *flags: str, backends: Mapping[str, int] | None = None, bind: str = "127.0.0.1:0"
) -> Iterator[Balancer]:
    """Run `tcplb serve` with an admin port; by flags, or over `backends`: ports by name."""
    listen = ("--listen", "127.0.0.1:0") if backends is not None else ()
    chosen = [
        flag
        for name, port in (backends or {}).items()
        for flag in ("--backend", f"{name}=127.0.0.1:{port}")
    ]
    with tcplb("serve", *listen, *chosen, *flags, environment=environment(bind)) as lb:
        admin = admin_of(lb)
        yield Balancer(lb, ports_of(lb)[0], admin)
        assert "Traceback" not in lb.output
        assert "internal error" not in lb.output


def write_config(
    file: Path,
    backends: Mapping[str, int],
    *,
    top: str = "",
    pool: str = "",
    listen: str = "127.0.0.1:0",
    more: str = "",
) -> Path:
    """Write settings with a listener and a pool, both called web."""
    tables = "".join(
        f'[[pools.web.backends]]\nname = "{name}"\naddress = "127.0.0.1:{port}"\n'
        for name, port in backends.items()
    )
    file.write_text(
        f'# written for a test\n{top}\n[[listeners]]\nname = "web"\nbind = "{listen}"\n'
        f'pool = "web"\n[pools.web]\n{pool}\n{tables}{more}'
    )
    return file


def until_active(admin: Admin, sessions: int) -> None:
    """Wait until so many sessions are open."""
    eventually(lambda: admin.get("stats")["active"] == sessions)

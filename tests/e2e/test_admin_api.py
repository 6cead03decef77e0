"""The admin API of real balancers: what it shows is so, and what it does comes about."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.control.metrics_page import Page
from tests.e2e.admin import (
    TOKEN,
    Admin,
    Balancer,
    Reply,
    admin_of,
    balancer_with_admin,
    environment,
    ports_of,
    until_active,
    write_config,
)
from tests.e2e.test_across_workers import Counting, counting_backends
from tests.processes import (
    WAIT,
    echo_backends,
    echoed,
    eventually,
    free_port,
    port_of,
    tcplb,
    visit,
)

pytestmark = pytest.mark.e2e

QUICK_CHECKS = '[pools.web.check]\ninterval = "50ms"\nfast_interval = "20ms"\ntimeout = "5s"\n'


@pytest.fixture(scope="module")
def backends() -> Iterator[list[Counting]]:
    with counting_backends(2) as made:
        yield made


@pytest.fixture(scope="module")
def shared(
    backends: list[Counting], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Balancer]:
    """A balancer with two workers, a keyed pool and another listener; only looked at."""
    file = tmp_path_factory.mktemp("config") / "tcplb.toml"
    one, other = backends
    write_config(
        file,
        {"a": one.port, "b": other.port},
        top="workers = 2",
        pool='strategy = "hash"\nhash_key = "client"',
        more='[[listeners]]\nname = "side"\nbind = "127.0.0.1:0"\npool = "web"\n',
    )
    with balancer_with_admin("--config", str(file)) as it:
        yield it
        it.lb.signal(signal.SIGTERM)
        assert it.lb.wait() == 0


def client_of(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT, source_address=(host, 0))


def talking_clients(
    stack: ExitStack, port: int, number: int, host: str = "127.0.0.1"
) -> list[socket.socket]:
    """Connect one after the other, so that it is known who was the first."""
    clients = []
    for _ in range(number):
        clients.append(stack.enter_context(client_of(port, host)))
        echoed(clients[-1])
    return clients


def name_of(client: socket.socket) -> str:
    host, port = client.getsockname()
    return f"{host}:{port}"


def pages(admin: Admin, **query: str | int | None) -> list[list[Any]]:
    """Return all pages of the sessions."""
    found: list[list[Any]] = []
    cursor: str | None = None
    while True:
        page = admin.get("sessions", cursor=cursor, **query)
        found.append(page["sessions"])
        cursor = page["next"]
        if cursor is None:
            return found


# -- status, pools, figures -------------------------------------------------------------------


def test_status_shows_the_processes_and_the_listeners(shared: Balancer) -> None:
    status = shared.admin.get("status")
    assert status["pid"] == shared.lb.process.pid
    assert status["state"] == "serving"
    assert status["ready"]
    assert [worker["number"] for worker in status["workers"]] == [1, 2]
    assert sorted(each["pid"] for each in status["workers"]) == sorted(shared.lb.children())
    assert all(worker["state"] == "ready" for worker in status["workers"])
    assert all(0 < each["open_files"] < each["max_open_files"] for each in status["workers"])
    web, side = ports_of(shared.lb)
    assert [(each["name"], each["addresses"]) for each in status["listeners"]] == [
        ("web", [f"127.0.0.1:{web}"]),
        ("side", [f"127.0.0.1:{side}"]),
    ]


def test_the_figures_are_what_was_sent(tmp_path: Path) -> None:
    with counting_backends(2) as (one, other):
        file = write_config(
            tmp_path / "tcplb.toml", {"a": one.port, "b": other.port}, top="workers = 2"
        )
        with balancer_with_admin("--config", str(file)) as it, ExitStack() as stack:
            for _ in range(20):
                visit(it.port)
            talking_clients(stack, it.port, 3)
            eventually(lambda: it.admin.get("status")["listeners"][0]["accepted"] == 23)
            until_active(it.admin, 3)
            eventually(lambda: it.admin.get("stats")["accepted"] == 23)
            stats = it.admin.get("stats")
            pool = it.admin.get("pools", "web")
            assert pool == it.admin.get("pools")["pools"][0]
            by_name = {each["name"]: each for each in pool["backends"]}
            for name, counting in (("a", one), ("b", other)):
                backend = by_name[name]
                assert backend == it.admin.backend(name)
                assert backend["connections"] == counting.total
                assert backend["active"] == counting.open
                ended = counting.total - counting.open
                assert backend["bytes_up"] == backend["bytes_down"] == 6 * ended
                (figures,) = (each for each in stats["backends"] if each["name"] == name)
                assert figures.items() <= backend.items()
            assert pool["active"] == 3
            assert stats["turned_away"] == stats["waiting"] == stats["retries"] == 0
            page = Page(it.admin.ask("GET", "/metrics").text)
            dials = page.by("tcplb_connect_duration_seconds_count", "backend", pool="web")
            assert dials == {"a": one.total, "b": other.total}
            active = page.by("tcplb_connections_active", "backend", pool="web")
            assert active == {"a": one.open, "b": other.open}
            ends = page["tcplb_connections_total"]
            assert sum(ends.values()) == 20
            assert all(("termination", "--") in labels for labels, n in ends.items() if n)


def test_unknown_names_are_404_with_a_guess(shared: Balancer) -> None:
    admin = shared.admin
    assert 'did you mean "web"' in admin.refused("GET", "pools", "wbe", status=404)
    admin.refused("GET", "backends", "web", "c", status=404)
    assert "pool" in admin.refused(
        "PUT", "backends", "wbe", "a", "state", status=404, state="disabled"
    )
    admin.refused("DELETE", "backends", "web", "c", status=404)
    admin.refused("DELETE", "sessions", "1-99999", status=404)
    wrong = ["", "x", "1", "-", "9-1", "0-1", "-1-1", "1-", "1-x", "1--1", "1-" + "9" * 30]
    for nonsense in (*wrong, "9" * 5000 + "-1", "1-%D9%A3"):
        assert admin.ask("DELETE", f"/api/v1/sessions/{nonsense or '%20'}").status == 404


def test_a_change_needs_the_token(shared: Balancer) -> None:
    path = "/api/v1/backends/web/a/state"
    body = {"state": "disabled"}
    assert shared.admin.ask("PUT", path, body, token=None).status == 401
    assert shared.admin.ask("PUT", path, body, token="not this one").status == 401  # noqa: S106
    assert shared.admin.backend("a")["mode"] == "enabled"


def test_what_is_read_is_not_logged(shared: Balancer) -> None:
    shared.admin.get("status")
    shared.admin.refused("GET", "pools", "wbe", status=404)
    assert "GET /" not in shared.lb.output


def test_health_and_readiness(shared: Balancer) -> None:
    for path, words in (("/healthz", "ok"), ("/readyz", "ready")):
        reply = shared.admin.ask("GET", path, token=None)
        assert (reply.status, reply.text.strip()) == (200, words)


# -- sessions ---------------------------------------------------------------------------------


def test_sessions_come_in_pages_in_order_over_two_workers(shared: Balancer) -> None:
    with ExitStack() as stack:
        clients = talking_clients(stack, shared.port, 25)
        until_active(shared.admin, 25)
        found = pages(shared.admin, limit=4)
        assert [len(page) for page in found] == [4, 4, 4, 4, 4, 4, 1]
        sessions = [session for page in found for session in page]
        assert [session["client"] for session in sessions] == [name_of(each) for each in clients]
        assert {session["id"].partition("-")[0] for session in sessions} == {"1", "2"}
        assert len({session["id"] for session in sessions}) == 25
        ages = [session["age_s"] for session in found[0]]
        assert ages == sorted(ages, reverse=True)
        for session in sessions:
            assert session["phase"] == "data"
            assert (session["bytes_up"], session["bytes_down"]) == (6, 6)
            assert session["listener"] == session["pool"] == "web"
        assert shared.admin.get("sessions", limit=25)["next"] is None
        assert shared.admin.get("sessions", limit=24)["next"] is not None
        assert shared.admin.get("sessions", limit=1)["total"] == 25
    until_active(shared.admin, 0)
    found_none = {"sessions": [], "total": 0, "next": None, "unanswered": []}
    assert shared.admin.get("sessions") == found_none


def test_sessions_by_what_they_have(shared: Balancer) -> None:
    web, side = ports_of(shared.lb)
    with ExitStack() as stack:
        talking_clients(stack, web, 3, "127.0.0.1")
        talking_clients(stack, side, 2, "127.0.0.2")
        talking_clients(stack, side, 1, "127.0.3.3")
        until_active(shared.admin, 6)

        def count(**query: str) -> int:
            page = shared.admin.get("sessions", **query)
            assert page["total"] == len(page["sessions"])
            return len(page["sessions"])

        assert count(listener="web") == 3
        assert count(listener="side") == 3
        assert count(client="127.0.0.2") == 2
        assert count(client="127.0.0.0/24") == 5
        assert count(client="::1") == 0
        assert count(client="127.0.0.2", listener="web") == 0
        assert count(pool="web") == 6
        assert count(pool="none") == 0
        assert count(backend="a") + count(backend="b") == 6
        shown = {each["backend"] for each in shared.admin.get("sessions", backend="a")["sessions"]}
        assert shown <= {"a"}
        for wrong in ({"client": "x"}, {"limit": "0"}, {"cursor": "x"}, {"client": "10.0.0.0/99"}):
            query = "&".join(f"{name}={value}" for name, value in wrong.items())
            assert shared.admin.ask("GET", f"/api/v1/sessions?{query}").status == 400
    until_active(shared.admin, 0)


def test_a_session_is_closed_with_a_reset(shared: Balancer) -> None:
    with ExitStack() as stack:
        clients = talking_clients(stack, shared.port, 4)
        until_active(shared.admin, 4)
        sessions = shared.admin.get("sessions")["sessions"]
        doomed = clients[2]
        (session,) = (each for each in sessions if each["client"] == name_of(doomed))
        assert shared.admin.do("DELETE", "sessions", session["id"]) == {"id": session["id"]}
        with pytest.raises(ConnectionResetError):
            doomed.recv(100)
        shared.lb.wait_for(rf"^{name_of(doomed)} .* KD ")
        shared.admin.refused("DELETE", "sessions", session["id"], status=404)
        for client in clients:
            if client is not doomed:
                echoed(client)
    until_active(shared.admin, 0)


def test_explain_says_where_a_connection_then_goes(shared: Balancer) -> None:
    chosen = set()
    for last in range(1, 20):
        host = f"127.0.7.{last}"
        explanation = shared.admin.get("explain", client=host)
        with ExitStack() as stack:
            talking_clients(stack, shared.port, 1, host)
            eventually(lambda: shared.admin.get("sessions", client=host)["total"] == 1)  # noqa: B023
            (session,) = shared.admin.get("sessions", client=host)["sessions"]
        assert session["backend"] == explanation["chosen"]
        chosen.add(explanation["chosen"])
    assert chosen == {"a", "b"}
    until_active(shared.admin, 0)
    assert shared.admin.ask("GET", "/api/v1/explain").status == 400
    assert shared.admin.ask("GET", "/api/v1/explain?client=x").status == 400
    assert shared.admin.ask("GET", "/api/v1/explain?client=1.2.3.4&pool=x").status == 404


# -- health and events ------------------------------------------------------------------------


def test_a_backend_that_dies_is_shown_and_told_and_so_is_its_return(tmp_path: Path) -> None:
    with counting_backends(1) as (other,), echo_backends() as (dying,):
        port = port_of(dying)
        file = write_config(
            tmp_path / "tcplb.toml",
            {"a": port, "b": other.port},
            top="workers = 2",
            more='[pools.web.eject]\nfailures = 2\nbase_time = "30s"\n' + QUICK_CHECKS,
        )
        with (
            balancer_with_admin("--config", str(file)) as it,
            it.admin.stream("events", "stream") as events,
        ):
            assert it.admin.backend("a")["checked"] == "up"
            dying.process.kill()
            first = next(event for event in events if event["backend"] == "a")
            assert first["kind"] == "health"
            eventually(lambda: it.admin.backend("a")["checked"] == "down")
            backend = it.admin.backend("a")
            assert not backend["usable"]
            assert "refused" in backend["why"]
            assert backend["since_at"] is not None
            assert it.admin.get("pools", "web")["usable"] == 1
            assert it.admin.get("status")["ready"]
            listed = it.admin.get("events")["events"]
            assert first in listed
            assert it.admin.get("events", after=listed[-1]["number"])["events"] == []
            with echo_backends(ports=[port]):
                eventually(lambda: it.admin.backend("a")["usable"])
                backend = it.admin.backend("a")
                assert (backend["checked"], backend["passive"]) == ("up", "in")
                assert backend["why"] == "usable"


def test_an_ejection_is_shown_and_an_event(tmp_path: Path) -> None:
    with counting_backends(1) as (other,):
        file = write_config(
            tmp_path / "tcplb.toml",
            {"a": free_port(), "b": other.port},
            top="workers = 2",
            more='[pools.web.eject]\nfailures = 1\nbase_time = "10m"\nmax_time = "10m"\n',
        )
        with (
            balancer_with_admin("--config", str(file)) as it,
            it.admin.stream("events", "stream") as events,
        ):
            for _ in range(4):
                visit(it.port)
            event = next(events)
            assert (event["kind"], event["pool"], event["backend"]) == ("health", "web", "a")
            assert "ejected" in event["text"]
            backend = it.admin.backend("a")
            assert (backend["passive"], backend["usable"]) == ("ejected", False)
            assert backend["checked"] == "not checked"
            assert "ejected for" in backend["why"]
            assert backend["ejections"] == 1  # though two workers may have found it at once
            assert backend["connect_failures"] >= 1
            assert backend["ejected_until_at"] > backend["since_at"]
            eventually(lambda: it.admin.get("stats")["retries"] >= 1)
            page = Page(it.admin.ask("GET", "/metrics").text)
            assert page.by("tcplb_backend_up", "backend", pool="web") == {"a": 0, "b": 1}


def test_the_stream_of_figures_goes_on(shared: Balancer) -> None:
    with shared.admin.stream("stats", "stream") as stats:
        first, second = next(stats), next(stats)
    assert second["at"] > first["at"]
    assert [each["name"] for each in first["backends"]] == ["a", "b"]


def test_it_is_not_ready_without_a_usable_backend_nor_while_it_drains(tmp_path: Path) -> None:
    with counting_backends(1) as (only,):
        file = write_config(tmp_path / "tcplb.toml", {"a": only.port, "b": free_port()})
        with balancer_with_admin("--config", str(file)) as it, ExitStack() as stack:

            def ready() -> Reply:
                return it.admin.ask("GET", "/readyz", token=None)

            for name in ("a", "b"):
                assert ready().status == 200
                it.admin.do("PUT", "backends", "web", name, "state", state="disabled")
            assert ready().status == 503
            assert "no usable backend" in ready().text
            assert it.admin.ask("GET", "/healthz").status == 200
            it.admin.do("PUT", "backends", "web", "a", "state", state="enabled")
            assert ready().status == 200
            (client,) = talking_clients(stack, it.port, 1)
            it.lb.signal(signal.SIGTERM)
            it.lb.wait_for("stopping: no new connections; the 1 open ones")
            assert (ready().status, ready().text.strip()) == (503, "draining")
            assert it.admin.get("status")["state"] == "draining"
            assert it.admin.ask("GET", "/healthz").status == 200
            client.close()
            assert it.lb.wait() == 0


# -- configuration ----------------------------------------------------------------------------


def test_the_configuration_is_shown_without_its_secrets(
    tmp_path: Path, backends: list[Counting]
) -> None:
    file = write_config(
        tmp_path / "tcplb.toml",
        {"a": backends[0].port},
        more=f'[admin]\nbind = "127.0.0.1:0"\ntoken = "{TOKEN}"\n',
    )
    with balancer_with_admin("--config", str(file)) as it:
        shown = it.admin.get("config")
        assert shown["file"] == str(file)
        assert shown["config"]["admin"]["token"] == "********"  # noqa: S105
        assert shown["config"]["pools"]["web"]["backends"][0]["name"] == "a"
        assert "TCPLB_ADMIN_BIND" in shown["origins"]["admin.bind"]
        assert TOKEN not in it.admin.ask("GET", "/api/v1/config").text
        assert TOKEN not in it.admin.ask("GET", "/metrics").text
        assert TOKEN not in it.lb.output


def test_changes_are_shown_saved_and_then_are_none(
    tmp_path: Path, backends: list[Counting]
) -> None:
    one, other = backends
    file = write_config(tmp_path / "tcplb.toml", {"a": one.port, "b": other.port})
    file.chmod(0o640)
    owner = os.getuid() or 12345
    os.chown(file, owner, -1)
    with balancer_with_admin("--config", str(file)) as it:
        it.admin.do("PUT", "backends", "web", "a", "weight", weight=7)
        it.admin.do("PUT", "backends", "web", "b", "state", state="disabled")
        difference = it.admin.get("config", "diff")
        assert len(difference["changes"]) == len(difference["runtime_changes"]) == 2
        assert it.admin.get("status")["runtime_changes"] == 2
        assert it.admin.backend("a")["changes"] == ["backend a of pool web: weight 7"]
        saved = it.admin.do("POST", "config", "save")
        assert saved == {"file": str(file), "changes": difference["runtime_changes"]}
        text = file.read_text()
        assert text.startswith("# written for a test\n")
        assert "weight = 7" in text
        status = file.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o640, owner)
        assert it.admin.get("config", "diff") == {"changes": [], "runtime_changes": []}
        assert it.admin.get("status")["runtime_changes"] == 0
        assert it.admin.backend("a")["weight"] == 7
        # What is in the file is what is served: nothing to do for a reload.
        assert it.admin.do("POST", "reload", dry_run=False)["changes"] == []
        assert it.admin.backend("b")["mode"] == "disabled"


def test_a_dry_run_changes_nothing_and_changes_can_be_discarded(
    tmp_path: Path, backends: list[Counting]
) -> None:
    one, other = backends
    file = write_config(tmp_path / "tcplb.toml", {"a": one.port})
    with balancer_with_admin("--config", str(file)) as it:
        it.admin.do("PUT", "backends", "web", "a", "weight", weight=7)
        write_config(file, {"a": one.port, "b": other.port})
        would = it.admin.do("POST", "reload", dry_run=True)
        assert not would["applied"]
        assert [change["path"] for change in would["changes"]] == ["pools.web.backends.b"]
        assert [each["name"] for each in it.admin.get("backends")["backends"]] == ["a"]
        assert it.admin.get("status")["reloads"]["succeeded"] == 1
        did = it.admin.do("POST", "reload", dry_run=False)
        assert did["changes"] == would["changes"]
        assert it.admin.backend("a")["weight"] == 7
        it.admin.do("POST", "reload", discard_changes=True)
        assert it.admin.backend("a")["weight"] == 1
        assert it.admin.get("config", "diff")["runtime_changes"] == []


def test_a_bad_file_is_refused_with_what_is_wrong_and_changes_nothing(
    tmp_path: Path, backends: list[Counting]
) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backends[0].port})
    with balancer_with_admin("--config", str(file)) as it:
        file.write_text(file.read_text() + "weigth = 1\n")
        for dry_run in (True, False):
            reply = it.admin.do("POST", "reload", status=422, dry_run=dry_run)
            assert [problem["where"] for problem in reply["problems"]] == [f"{file}:12"]
        reloads = it.admin.get("status")["reloads"]
        assert (reloads["succeeded"], reloads["failed"]) == (0, 1)
        assert "weigth" in reloads["last_error"]
        visit(it.port)


def test_without_a_file_there_is_nothing_to_reload_or_save(backends: list[Counting]) -> None:
    with balancer_with_admin(backends={"a": backends[0].port}) as it:
        assert "without one" in it.admin.refused("POST", "reload", status=409, dry_run=False)
        it.admin.do("PUT", "backends", "default", "a", "weight", weight=2)
        assert it.admin.refused("POST", "config", "save", status=409)
        assert it.admin.backend("a", "default")["weight"] == 2


def test_changes_that_make_no_sense_are_refused(tmp_path: Path, backends: list[Counting]) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backends[0].port})
    with balancer_with_admin("--config", str(file)) as it:
        admin = it.admin
        assert "only one" in admin.refused("DELETE", "backends", "web", "a", status=409)
        admin.refused("POST", "backends", "web", status=409, backend="a=127.0.0.1:1")
        for text in ("b=127.0.0.1", "b=127.0.0.1:99999", "=", "b=127.0.0.1:1,weight=x", "\0"):
            admin.refused("POST", "backends", "web", status=422, backend=text)
        admin.refused("PUT", "backends", "web", "a", "weight", status=422, weight=257)
        admin.refused("PUT", "backends", "web", "a", "state", status=422, state="off")
        admin.refused(
            "PUT", "backends", "web", "a", "state", status=422, state="draining", timeout="5 apples"
        )
        assert admin.get("config", "diff") == {"changes": [], "runtime_changes": []}
        assert admin.backend("a")["mode"] == "enabled"


# -- where it is ------------------------------------------------------------------------------


def usual_port_taken() -> socket.socket | None:
    try:
        return socket.create_server(("127.0.0.1", 9091))
    except OSError:
        return None  # by another one, which is as good


def test_it_serves_without_an_admin_port_if_the_usual_one_is_taken(
    backends: list[Counting],
) -> None:
    taken = usual_port_taken()
    with ExitStack() as stack:
        if taken is not None:
            stack.enter_context(taken)
        flags = ("--listen", "127.0.0.1:0", "--backend", f"127.0.0.1:{backends[0].port}")
        without = [f"--unset={name}" for name in ("TCPLB_ADMIN_BIND", "TCPLB_ADMIN_TOKEN")]
        with tcplb("serve", *flags, wrapper=["env", *without]) as lb:
            lb.wait_for(
                r"warning .*: there is no admin port: cannot listen on 127\.0\.0\.1:9091: "
                r"the address is in use.*; choose another with admin\.bind"
            )
            visit(ports_of(lb)[0])
            lb.signal(signal.SIGTERM)
            assert lb.wait() == 0


def test_without_a_place_for_the_token_nobody_waits_at_the_usual_port(
    backends: list[Counting],
) -> None:
    alone = ("unshare", "--user", "--map-root-user", "--net")
    changed = "-u TCPLB_ADMIN_BIND RUNTIME_DIRECTORY=/dev/null/x"
    started = f'ip link set lo up && exec env {changed} "$0" "$@"'
    if subprocess.run([*alone, "ip", "link"], capture_output=True, check=False).returncode:
        pytest.skip("needs unshare, and to be allowed a network of one's own")
    flags = ("--listen", "127.0.0.1:1", "--backend", f"127.0.0.1:{backends[0].port}")
    with tcplb("serve", *flags, wrapper=[*alone, "sh", "-c", started]) as lb:
        lb.wait_for("there is no admin port: cannot use the token file ")
        lb.wait_for("listening on 127.0.0.1:1")
        tables = (Path(f"/proc/{lb.process.pid}/net/{table}") for table in ("tcp", "tcp6"))
        sockets = [line.split()[1] for table in tables for line in table.read_text().splitlines()]
        assert [each[-5:] for each in sockets if ":" in each] == [":0001"]
        lb.signal(signal.SIGTERM)
        assert lb.wait() == 0


def test_an_admin_port_that_was_asked_for_has_to_be_free() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        tcplb(
            "serve",
            *("--listen", "127.0.0.1:0"),
            environment=environment(f"127.0.0.1:{taken.getsockname()[1]}"),
        ) as lb,
    ):
        assert lb.wait() == 4
        assert "the address is in use" in lb.lines[-1]
        assert "listening on" not in lb.output
        assert "Traceback" not in lb.output


@pytest.mark.parametrize("content", ["short", None])
def test_a_token_that_cannot_be_used_ends_it_before_it_serves(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "token"
    if content is None:
        file.mkdir()
    else:
        file.write_text(content)
        file.chmod(0o600)
    flags = ("--listen", "127.0.0.1:0", "--admin-token-file", str(file))
    with tcplb("serve", *flags, environment={"TCPLB_ADMIN_BIND": "127.0.0.1:0"}) as lb:
        assert lb.wait() == 1
        assert lb.lines[-1].startswith(f'tcplb: "{str(file)[:60]}')
        assert "listening on" not in lb.output
        assert "the supervisor is gone" not in lb.output
        assert "Traceback" not in lb.output


def test_a_token_is_made_and_kept(tmp_path: Path, backends: list[Counting]) -> None:
    file = tmp_path / "token"
    backend = ("--backend", f"a=127.0.0.1:{backends[0].port}")
    flags = ("--listen", "127.0.0.1:0", "--admin-token-file", str(file), *backend)
    tokens = []
    for _ in range(2):
        with tcplb("serve", *flags, environment={"TCPLB_ADMIN_BIND": "127.0.0.1:0"}) as lb:
            admin = admin_of(lb)
            lb.wait_for(rf"admin port on .*, token in {re.escape(str(file))}$")
            token = file.read_text().strip()
            reply = admin.ask(
                "PUT", "/api/v1/backends/default/a/weight", {"weight": 3}, token=token
            )
            assert reply.status == 200
            assert token not in lb.output
            tokens.append(token)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert tokens[0] == tokens[1]


def test_a_unix_socket_left_by_one_that_was_killed_is_replaced(
    tmp_path: Path, backends: list[Counting]
) -> None:
    path = tmp_path / "admin.sock"
    flags = ("--listen", "127.0.0.1:0", "--backend", f"a=127.0.0.1:{backends[0].port}")
    with tcplb("serve", *flags, environment=environment(f"unix:{path}")) as lb:
        assert admin_of(lb).get("status")["pid"] == lb.process.pid
        lb.process.kill()
        assert lb.wait() == -signal.SIGKILL
    assert path.is_socket()
    with tcplb("serve", *flags, environment=environment(f"unix:{path}")) as lb:
        assert admin_of(lb).address == f"unix:{path}"
        assert admin_of(lb).get("status")["pid"] == lb.process.pid
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with tcplb("serve", *flags, environment=environment(f"unix:{path}")) as second:
            assert second.wait() == 4
            assert "the socket is in use" in second.output
        assert admin_of(lb).get("status")["pid"] == lb.process.pid
        lb.signal(signal.SIGTERM)
        assert lb.wait() == 0
    assert not path.exists()


def test_garbage_and_clients_that_reset_do_no_harm(shared: Balancer) -> None:
    for nonsense in (b"\0" * 100, b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 50, b"x" * 20_000):
        with shared.admin.connect() as sock:
            sock.sendall(nonsense)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert shared.admin.get("status")["state"] == "serving"
    assert "Traceback" not in shared.lb.output

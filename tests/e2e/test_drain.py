"""Backends that are drained, disabled, weighed, added and removed while they are in use."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.admin import (
    Admin,
    Balancer,
    balancer_with_admin,
    until_active,
    write_config,
)
from tests.e2e.test_across_workers import Counting, counting_backends
from tests.e2e.test_workers import Load, until_workers
from tests.e2e.upgrading import end, upgradable, upgrade
from tests.processes import WAIT, echoed, eventually, visit

pytestmark = pytest.mark.e2e

KEYED = 'strategy = "hash"\nhash_key = "client"'


@contextmanager
def two_backends(folder: Path, pool: str = "") -> Iterator[tuple[Balancer, list[Counting]]]:
    """Run a balancer with two workers over two backends, a and b."""
    with counting_backends(2) as backends:
        names = {"a": backends[0].port, "b": backends[1].port}
        file = write_config(folder / "tcplb.toml", names, top="workers = 2", pool=pool)
        with balancer_with_admin("--config", str(file)) as it:
            yield it, backends


def set_state(admin: Admin, name: str, state: str, timeout: str | None = None) -> Any:
    return admin.do("PUT", "backends", "web", name, "state", state=state, timeout=timeout)


def client_of(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT, source_address=(host, 0))


def talking_clients(stack: ExitStack, port: int, number: int) -> list[socket.socket]:
    clients = [stack.enter_context(client_of(port)) for _ in range(number)]
    for client in clients:
        echoed(client)
    return clients


def clients_by_backend(
    stack: ExitStack, it: Balancer, number: int
) -> dict[str, list[socket.socket]]:
    """Return clients by the backend that they have got."""
    clients = talking_clients(stack, it.port, number)
    until_active(it.admin, number)
    by_name = {f"127.0.0.1:{client.getsockname()[1]}": client for client in clients}
    found: dict[str, list[socket.socket]] = {"a": [], "b": []}
    for session in it.admin.get("sessions", limit=1000)["sessions"]:
        found[session["backend"]].append(by_name[session["client"]])
    return found


def resets(clients: list[socket.socket], number: int) -> list[socket.socket]:
    """Wait until so many of these were reset; return them."""
    found: list[socket.socket] = []
    left = list(clients)
    while len(found) < number:
        ready, _, _ = select.select(left, [], [], WAIT)
        assert ready, f"only {len(found)} of {number} were reset"
        for client in ready:
            with pytest.raises(ConnectionResetError):
                client.recv(100)
            left.remove(client)
            found.append(client)
    return found


def where_keys_go(it: Balancer, backends: list[Counting]) -> list[str]:
    """Return the backend of each of some clients."""
    found = []
    for last in range(1, 25):
        before = [each.total for each in backends]
        with client_of(it.port, f"127.0.9.{last}") as client:
            echoed(client)
        found.append("a" if backends[0].total > before[0] else "b")
    return found


def test_keys_move_on_while_their_backend_is_drained_and_come_back(tmp_path: Path) -> None:
    with two_backends(tmp_path, KEYED) as (it, backends):
        at_first = where_keys_go(it, backends)
        assert set(at_first) == {"a", "b"}
        with ExitStack() as stack:
            host = f"127.0.9.{at_first.index('a') + 1}"
            client = stack.enter_context(client_of(it.port, host))
            echoed(client)
            applied = set_state(it.admin, "a", "draining")
            assert [each["text"] for each in applied["changes"]]
            assert set(where_keys_go(it, backends)) == {"b"}
            echoed(client, b"still here")
            backend = it.admin.backend("a")
            assert (backend["mode"], backend["usable"]) == ("draining", False)
            assert backend["why"] == "is draining"
            assert backend["changes"] == ["backend a of pool web: draining"]
            assert it.admin.get("explain", client=host)["chosen"] == "b"
        set_state(it.admin, "a", "enabled")
        assert where_keys_go(it, backends) == at_first
        backend = it.admin.backend("a")
        assert (backend["drain"], backend["changes"]) == (None, [])


def test_how_far_a_drain_has_come_is_shown(tmp_path: Path) -> None:
    with two_backends(tmp_path) as (it, _), ExitStack() as stack:
        clients = clients_by_backend(stack, it, 12)["a"]
        assert len(clients) >= 2
        set_state(it.admin, "a", "draining")

        def left() -> int:
            return int(it.admin.backend("a")["drain"]["sessions_left"])

        eventually(lambda: left() == len(clients))
        drain = it.admin.backend("a")["drain"]
        assert drain["deadline_at"] is None
        assert drain["oldest_age_s"] > 0
        clients[0].close()
        eventually(lambda: left() == len(clients) - 1)
        for client in clients:
            client.close()
        it.lb.wait_for(r"backend a of pool web is drained: no connection is left")
        assert left() == 0
        told = [event for event in it.admin.get("events")["events"] if event["backend"] == "a"]
        assert [event["kind"] for event in told] == ["operator", "operator"]
        assert "is drained" in told[-1]["text"]


def test_when_time_is_up_the_sessions_are_closed_one_by_one(tmp_path: Path) -> None:
    with two_backends(tmp_path) as (it, _), ExitStack() as stack:
        clients = clients_by_backend(stack, it, 24)
        set_state(it.admin, "a", "draining", "2s")
        it.lb.wait_for(
            rf"has had its time: what is left .{len(clients['a'])}. is closed within 2 s"
        )
        # Two workers begin with one each.
        few = resets(clients["a"], 1)
        assert it.admin.backend("a")["active"] >= 1
        left = [client for client in clients["a"] if client not in few]
        resets(left, len(left))
        for client in clients["b"]:
            echoed(client)
        it.lb.wait_for(r" KD ", count=len(clients["a"]))
        it.lb.wait_for(r"is drained: no connection is left")


def test_enabling_ends_the_closing(tmp_path: Path) -> None:
    with two_backends(tmp_path) as (it, _), ExitStack() as stack:
        clients = clients_by_backend(stack, it, 40)["a"]
        set_state(it.admin, "a", "draining", "1h")
        set_state(it.admin, "a", "draining", "10s")  # the last word counts
        assert it.admin.backend("a")["drain"]["deadline_at"] is not None
        it.lb.wait_for(r"has had its time")
        few = resets(clients, 3)
        set_state(it.admin, "a", "enabled")
        left = [client for client in clients if client not in few]
        # Those that were closed before the workers have heard of it.
        ready, _, _ = select.select(left, [], [], 0)
        left = [client for client in left if client not in ready]
        assert left
        with it.admin.stream("stats", "stream") as stats:
            next(stats)
            active = it.admin.backend("a")["active"]
            for _ in range(3):  # seconds, in which more than one would have been closed
                next(stats)
        assert it.admin.backend("a")["active"] == active > 0


def test_another_weight_leaves_the_time_of_a_drain_as_it_is(tmp_path: Path) -> None:
    with two_backends(tmp_path) as (it, _), ExitStack() as stack:
        clients_by_backend(stack, it, 4)
        set_state(it.admin, "a", "draining", "1h")
        deadline = it.admin.backend("a")["drain"]["deadline_at"]
        it.admin.do("PUT", "backends", "web", "a", "weight", weight=3)
        assert it.admin.backend("a")["drain"]["deadline_at"] == deadline is not None


def test_a_worker_that_does_not_answer_may_have_sessions(tmp_path: Path) -> None:
    with two_backends(tmp_path) as (it, _), ExitStack() as stack:
        clients_by_backend(stack, it, 12)
        owner = {each["id"][0] for each in it.admin.get("sessions", backend="a")["sessions"]}
        assert owner == {"1", "2"}
        stopped = it.admin.get("status")["workers"][0]["pid"]
        mine = {
            session["client"]
            for session in it.admin.get("sessions", backend="a")["sessions"]
            if session["id"].startswith("2-")
        }
        os.kill(stopped, signal.SIGSTOP)
        try:
            found = it.admin.get("sessions", backend="a")
            assert found["unanswered"] == [1]
            for session in found["sessions"]:
                assert session["client"] in mine
                it.admin.do("DELETE", "sessions", session["id"])
            set_state(it.admin, "a", "draining")
            it.admin.get("sessions")  # as long as a look takes
            it.admin.get("sessions")
            assert "is drained" not in it.lb.output
        finally:
            os.kill(stopped, signal.SIGCONT)


def test_a_drain_survives_a_reload_and_an_upgrade(tmp_path: Path) -> None:
    with counting_backends(2) as backends:
        names = {"a": backends[0].port, "b": backends[1].port}
        file = write_config(tmp_path / "tcplb.toml", names)
        with upgradable(file) as it, client_of(it.port) as client, client_of(it.port) as other:
            echoed(client)
            echoed(other)
            set_state(it.admin, "a", "draining", "1h")
            drain = it.admin.backend("a")["drain"]
            it.admin.do("POST", "reload", dry_run=False)
            after = it.admin.backend("a")
            assert (after["mode"], after["drain"]["deadline_at"]) == (
                "draining",
                drain["deadline_at"],
            )
            new = upgrade(it.lb)
            eventually(lambda: it.admin.get("status")["pid"] == new)
            after = it.admin.backend("a")
            assert after["mode"] == "draining"
            assert after["drain"]["since_at"] == drain["since_at"]
            assert after["drain"]["deadline_at"] == drain["deadline_at"]
            before = backends[0].total
            for _ in range(6):
                visit(it.port)
            assert backends[0].total == before
            client.close()
            other.close()
            end(it.lb, new)


def test_the_time_of_a_drain_holds_in_the_old_process_too(tmp_path: Path) -> None:
    with counting_backends(1) as backends:
        file = write_config(tmp_path / "tcplb.toml", {"a": backends[0].port})
        with upgradable(file) as it, client_of(it.port) as client:
            echoed(client)
            set_state(it.admin, "a", "draining", "15s")
            new = upgrade(it.lb)
            it.lb.wait_for(r"the 1 open ones")
            with pytest.raises(ConnectionResetError):
                client.recv(100)
            assert it.lb.process.wait(WAIT) == 0
            end(it.lb, new)


def test_disabled_and_weightless_backends_get_nothing_new(tmp_path: Path) -> None:
    with two_backends(tmp_path) as (it, backends), ExitStack() as stack:
        clients = clients_by_backend(stack, it, 8)["a"]
        for method in ("state", "weight"):
            if method == "state":
                set_state(it.admin, "a", "disabled")
                assert it.admin.backend("a")["why"] == "is disabled"
            else:
                it.admin.do("PUT", "backends", "web", "a", "weight", weight=0)
                assert it.admin.backend("a")["why"] == "has the weight 0"
            before = backends[0].total
            for _ in range(10):
                visit(it.port)
            assert backends[0].total == before
            for client in clients:
                echoed(client)
            set_state(it.admin, "a", "enabled")
        it.admin.do("PUT", "backends", "web", "a", "weight", weight=1)
        assert it.admin.get("config", "diff")["changes"] == []
        before = backends[0].total
        for _ in range(10):
            visit(it.port)
        assert backends[0].total > before


def test_backends_come_and_go_under_load_and_nobody_notices(tmp_path: Path) -> None:
    with counting_backends(1) as (third,), two_backends(tmp_path) as (it, _):
        with Load.on(it.port) as load:
            for _ in range(3):
                it.admin.do(
                    "POST", "backends", "web", status=201, backend=f"c=127.0.0.1:{third.port}"
                )
                before = third.total
                eventually(lambda: third.total > before)  # noqa: B023
                assert it.admin.backend("c")["changes"]
                it.admin.do("DELETE", "backends", "web", "a")
                load.wait_for_more()
                it.admin.do("DELETE", "backends", "web", "c")
                load.wait_for_more()
                it.admin.do("POST", "reload", discard_changes=True)
        assert load.errors == []
        assert it.admin.get("config", "diff")["changes"] == []


def test_the_last_backend_stays(tmp_path: Path) -> None:
    with two_backends(tmp_path) as (it, _):
        it.admin.do("DELETE", "backends", "web", "a")
        words = it.admin.refused("DELETE", "backends", "web", "b", status=409)
        assert "the only one there" in words
        assert it.admin.get("config", "diff")["runtime_changes"] == [
            "backend a of pool web: removed"
        ]
        visit(it.port)


def test_a_worker_that_comes_later_knows_the_changes(tmp_path: Path) -> None:
    with two_backends(tmp_path) as (it, backends):
        set_state(it.admin, "a", "draining")
        for worker in it.lb.children():
            os.kill(worker, signal.SIGKILL)
        it.lb.wait_for("killed by SIGKILL", count=2)
        eventually(
            lambda: (
                [each["state"] for each in it.admin.get("status")["workers"]] == ["ready", "ready"]
            )
        )
        until_workers(it.lb, 2)
        before = backends[0].total
        for _ in range(10):
            visit(it.port)
        assert backends[0].total == before


def test_a_worker_that_is_killed_does_not_hold_up_a_drain(tmp_path: Path) -> None:
    with two_backends(tmp_path) as (it, _), ExitStack() as stack:
        clients_by_backend(stack, it, 8)
        set_state(it.admin, "a", "draining")
        for worker in it.lb.children():
            os.kill(worker, signal.SIGKILL)
        it.lb.wait_for(r"backend a of pool web is drained: no connection is left")

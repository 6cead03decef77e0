"""SIGUSR2: another process takes over, and no client notices."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.admin import (
    admin_of,
    environment,
    write_config,
)
from tests.e2e.test_across_workers import Counting, counting_backends
from tests.e2e.test_workers import Load, is_alive
from tests.e2e.upgrading import (
    assert_whole_lines,
    begun,
    client_of,
    end,
    environment_of,
    one_backend,
    until_gone,
    upgradable,
    upgrade,
)
from tests.processes import WAIT, Running, echoed, eventually, tcplb, visit

pytestmark = pytest.mark.e2e

OF_THE_HAND_OVER = ("TCPLB_PREDECESSOR", "TCPLB_SOCKETS", "LISTEN_", "NOTIFY_", "WATCHDOG_")


@pytest.fixture(scope="module")
def backend() -> Iterator[Counting]:
    with counting_backends(1) as (made,):
        yield made


# -- nobody notices ---------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_under_load_no_connection_fails(tmp_path: Path, backend: Counting, workers: int) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port}, top=f"workers = {workers}")
    with upgradable(file) as it:
        with Load.on(it.port) as load:
            new = upgrade(it.lb)
            until_gone(it.lb.process.pid)
            load.wait_for_more()
        assert load.errors == []
        assert it.lb.process.wait(WAIT) == 0
        # The port stays, though it is one that the system has chosen, and so does the admin port.
        visit(it.port)
        status = it.admin.get("status")
        assert status["pid"] == new
        assert status["listeners"][0]["addresses"] == [f"127.0.0.1:{it.port}"]
        assert len(status["workers"]) == workers
        end(it.lb, new)
        assert_whole_lines(it.lb)
        assert it.lb.output.count(" -- ") == load.visits + 1


def test_a_long_session_lives_on_in_the_old_process(tmp_path: Path, backend: Counting) -> None:
    file = one_backend(tmp_path, backend)
    with upgradable(file) as it:
        with client_of(it.port) as client:
            echoed(client)
            new = upgrade(it.lb)
            it.lb.wait_for(r"the 1 open ones")
            visit(it.port)
            echoed(client, b"still here")
            assert is_alive(it.lb.process.pid)
            assert it.admin.get("sessions")["total"] == 0  # of the new process
        assert it.lb.process.wait(WAIT) == 0
        it.lb.wait_for(r" 16 -- ")
        end(it.lb, new)


def test_what_was_changed_at_run_time_survives(tmp_path: Path, backend: Counting) -> None:
    names = {"a": backend.port, "b": backend.port}
    file = write_config(tmp_path / "tcplb.toml", names)
    with upgradable(file) as it:
        admin = it.admin
        admin.do("PUT", "backends", "web", "a", "weight", weight=7)
        admin.do("POST", "backends", "web", status=201, backend=f"c=127.0.0.1:{backend.port}")
        admin.do("DELETE", "backends", "web", "b")
        before = admin.get("config", "diff")
        new = upgrade(it.lb)
        eventually(lambda: admin.get("status")["pid"] == new)
        assert admin.get("config", "diff") == before
        assert [each["name"] for each in admin.get("backends")["backends"]] == ["a", "c"]
        assert admin.backend("a")["weight"] == 7
        visit(it.port)
        end(it.lb, new)


def test_a_unix_socket_of_the_admin_port_moves_over(tmp_path: Path, backend: Counting) -> None:
    file = one_backend(tmp_path, backend)
    path = tmp_path / "admin.sock"
    with upgradable(file, bind=f"unix:{path}") as it, client_of(it.port) as client:
        echoed(client)
        new = upgrade(it.lb)
        it.lb.wait_for(r"the 1 open ones")
        assert it.admin.get("status")["pid"] == new
        os.kill(new, signal.SIGKILL)
        # Nobody listens there any more: the old process does not keep it open.
        eventually(lambda: _is_refused(path))
        echoed(client, b"still here")


def _is_refused(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) != 0


def test_nothing_of_the_hand_over_gets_to_workers(tmp_path: Path, backend: Counting) -> None:
    file = one_backend(tmp_path, backend)
    notify = {"NOTIFY_SOCKET": f"{tmp_path}/nobody", "WATCHDOG_USEC": "60000000"}
    flags = ("serve", "--config", str(file))
    with tcplb(*flags, environment=environment() | notify) as lb:
        admin = admin_of(lb)
        opened = _open_files(lb.children()[0])
        try:
            new = upgrade(lb)
            until_gone(lb.process.pid)
            newer = upgrade(lb, new, count=2)
            until_gone(new)
            (worker,) = [each["pid"] for each in admin.get("status")["workers"]]
            assert not [e for e in environment_of(worker) if e.startswith(OF_THE_HAND_OVER)]
            assert len([e for e in environment_of(newer) if e.startswith("TCPLB_SOCKETS=")]) == 1
            assert any(e.startswith("NOTIFY_SOCKET=") for e in environment_of(newer))
            eventually(lambda: _open_files(worker) == opened)
            end(lb, newer)
        finally:
            lb.mark.kill()


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


# -- again and again --------------------------------------------------------------------------


def test_twice_in_a_row_while_sessions_of_both_are_open(tmp_path: Path, backend: Counting) -> None:
    file = one_backend(tmp_path, backend, drain_timeout="50ms")
    with upgradable(file) as it, client_of(it.port) as first:
        echoed(first)
        new = upgrade(it.lb)
        it.lb.wait_for(r"the 1 open ones")
        with client_of(it.port) as second:
            echoed(second)
            newer = upgrade(it.lb, new, count=2)
            it.lb.wait_for(r"the 1 open ones", count=2)
            echoed(second, b"still here")
        until_gone(new)
        # The first one has lost the one after it, but not the one that serves.
        with client_of(it.port) as third:
            echoed(third)
            echoed(first, b"still here")
            assert is_alive(it.lb.process.pid)
            # And it ends with that.
            os.kill(newer, signal.SIGTERM)
            for client in (first, third):
                with pytest.raises(ConnectionResetError):
                    client.recv(100)
        until_gone(newer, it.lb.process.pid)


def test_two_signals_at_once_are_one_upgrade_or_two(tmp_path: Path, backend: Counting) -> None:
    file = one_backend(tmp_path, backend)
    with upgradable(file) as it:
        it.lb.signal(signal.SIGUSR2)
        it.lb.wait_for("upgrade: starting the new process")
        it.lb.signal(signal.SIGUSR2)
        new = int(it.lb.wait_for(r"upgrade: pid (\d+) has taken over")[0][1])
        until_gone(it.lb.process.pid)
        assert it.lb.output.count("upgrade: starting") == 1
        visit(it.port)
        assert it.admin.get("status")["pid"] == new
        end(it.lb, new)


# -- logs -------------------------------------------------------------------------------------


def test_a_log_rotation_reaches_all(tmp_path: Path, backend: Counting) -> None:
    log, rotated, once_more = (tmp_path / name for name in ("access", "access.1", "access.2"))
    file = write_config(
        tmp_path / "tcplb.toml", {"a": backend.port}, more=f'[log]\naccess = "{log}"\n'
    )
    with upgradable(file) as it, client_of(it.port) as client:
        echoed(client)
        new = begun(it.lb)
        eventually(lambda: log in _files_of(new))
        # It has opened the log, and the signal still goes to the one before it.
        os.kill(new, signal.SIGSTOP)
        log.rename(rotated)
        it.lb.signal(signal.SIGUSR1)
        os.kill(new, signal.SIGCONT)
        it.lb.wait_for("has taken over")
        eventually(lambda: not _users_of(rotated, it.lb))
        # Now it goes to the new one, and the old one has a session.
        log.rename(once_more)
        os.kill(new, signal.SIGUSR1)
        eventually(lambda: not _users_of(once_more, it.lb))
        client.close()
        it.lb.process.wait(WAIT)
        visit(it.port)
        end(it.lb, new)
    assert [path.read_text().count("\n") for path in (rotated, once_more, log)] == [0, 0, 2]


def _files_of(pid: int) -> set[Path]:
    files = set[Path]()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            files.add(each.readlink())
    return files


def _users_of(file: Path, lb: Running) -> list[int]:
    return [pid for pid in lb.mark.processes() if is_alive(pid) and file in _files_of(pid)]

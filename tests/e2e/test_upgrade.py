"""SIGUSR2: another process takes over, and no client notices."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.admin import (
    Admin,
    Balancer,
    admin_of,
    balancer_with_admin,
    environment,
    ports_of,
    until_active,
    write_config,
)
from tests.e2e.test_across_workers import Counting, counting_backends
from tests.e2e.test_workers import Load, is_alive
from tests.processes import WAIT, Running, echoed, eventually, tcplb, visit, worker_of

pytestmark = pytest.mark.e2e

OF_THE_HAND_OVER = ("TCPLB_PREDECESSOR", "TCPLB_SOCKETS", "LISTEN_", "NOTIFY_", "WATCHDOG_")


@pytest.fixture(scope="module")
def backend() -> Iterator[Counting]:
    with counting_backends(1) as (made,):
        yield made


@contextmanager
def upgradable(file: Path, *flags: str, bind: str = "127.0.0.1:0") -> Iterator[Balancer]:
    """Run a balancer, and kill what is left of it and of its successors."""
    with balancer_with_admin("--config", str(file), *flags, bind=bind) as it:
        try:
            yield it
        finally:
            it.lb.mark.kill()


def client_of(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT)


def upgrade(lb: Running, pid: int | None = None, *, count: int = 1) -> int:
    """Upgrade the process `pid`, the first one if not given; return the pid of the new one."""
    os.kill(lb.process.pid if pid is None else pid, signal.SIGUSR2)
    return int(lb.wait_for(r"upgrade: pid (\d+) has taken over", count=count)[count - 1][1])


def begun(lb: Running) -> int:
    """Have it begin an upgrade; return the pid of the new process, which is not ready yet."""
    known = _successors(lb)
    lb.signal(signal.SIGUSR2)
    eventually(lambda: len(_successors(lb) - known) == 1)
    (new,) = _successors(lb) - known
    return new


def _successors(lb: Running) -> set[int]:
    """The processes that were started by an upgrade; those that start them are not among them."""
    return {
        pid
        for pid, command in lb.mark.processes().items()
        if " serve " in command and " -S " not in command and _has_predecessor(pid)
    }


def _has_predecessor(pid: int) -> bool:
    try:
        return any(each.startswith("TCPLB_PREDECESSOR=") for each in environment_of(pid))
    except OSError:
        return False  # it has ended


def until_gone(*pids: int) -> None:
    eventually(lambda: not any(is_alive(pid) for pid in pids))


def end(lb: Running, pid: int) -> None:
    """End the new process, and see that nothing is left of any."""
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not any(is_alive(pid) for pid in lb.mark.processes()))


def assert_whole_lines(lb: Running) -> None:
    for line in lb.output.splitlines():
        assert line.startswith(("2", "127.0.0.1:")), line
        assert line.count(" -- ") <= 1, line


def environment_of(pid: int) -> list[str]:
    return [each for each in Path(f"/proc/{pid}/environ").read_text().split("\0") if each]


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
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
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
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
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
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
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
    file = write_config(
        tmp_path / "tcplb.toml", {"a": backend.port}, more='[limits]\ndrain_timeout = "50ms"\n'
    )
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
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
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


# -- what goes wrong --------------------------------------------------------------------------


def test_with_a_broken_file_the_old_one_goes_on_and_says_so(
    tmp_path: Path, backend: Counting
) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
    with upgradable(file) as it:
        good = file.read_text()
        file.write_text(good + "weigth = 1\n")
        it.lb.signal(signal.SIGUSR2)
        it.lb.wait_for(r"unknown key .did you mean .weight")
        it.lb.wait_for(
            r"upgrade failed, serving goes on: the new process \(pid \d+\) ended before it was "
            r"ready"
        )
        visit(it.port)
        (event,) = (e for e in it.admin.get("events")["events"] if e["kind"] == "server")
        assert "upgrade failed" in event["text"]
        # Nothing is held against a change, or the next attempt.
        it.admin.do("PUT", "backends", "web", "a", "weight", weight=2)
        file.write_text(good)
        end(it.lb, upgrade(it.lb))


def test_one_that_is_killed_before_it_is_ready_costs_nothing(
    tmp_path: Path, backend: Counting
) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port}, top="workers = 2")
    with upgradable(file) as it:
        with Load.on(it.port) as load:
            # It would like more sockets than it is given: who came to those would be lost.
            file.write_text(file.read_text().replace("workers = 2", "workers = 3"))
            known = set(it.lb.children())
            for attempt in range(3):
                new = begun(it.lb)
                # Before it has a worker, when it has one, and when it has two.
                eventually(lambda: len(_children(new)) >= attempt)  # noqa: B023
                os.kill(new, signal.SIGKILL)
                it.lb.wait_for(r"upgrade failed, .* ended before it was ready", count=attempt + 1)
            load.wait_for_more()
        # A worker of the new one that was killed may have taken clients with it; it drains.
        assert load.errors == []
        assert set(it.lb.children()) == known
        assert it.admin.get("status")["pid"] == it.lb.process.pid
        it.lb.signal(signal.SIGTERM)
        assert it.lb.wait() == 0


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(each) for each in text.split()]


def test_a_new_one_that_is_told_to_end_before_it_is_ready_does_not_take_over(
    tmp_path: Path, backend: Counting
) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
    with upgradable(file) as it:
        new = begun(it.lb)
        eventually(lambda: len(_children(new)) == 1)  # so it hears signals
        os.kill(new, signal.SIGTERM)
        it.lb.wait_for(r"upgrade failed, .* ended before it was ready")
        visit(it.port)
        it.lb.signal(signal.SIGTERM)
        assert it.lb.wait() == 0


def test_the_old_one_told_to_end_meanwhile_leaves_nothing(
    tmp_path: Path, backend: Counting
) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
    with upgradable(file) as it:
        begun(it.lb)
        it.lb.signal(signal.SIGTERM)
        assert it.lb.process.wait(WAIT) == 0
        until_gone(*it.lb.mark.processes())


def test_the_old_one_killed_right_after_is_not_missed(tmp_path: Path, backend: Counting) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
    with upgradable(file) as it, client_of(it.port) as client:
        echoed(client)
        new = upgrade(it.lb)
        it.lb.process.kill()
        visit(it.port)
        echoed(client, b"still here")  # its worker lets it end
        client.close()
        assert it.admin.get("status")["pid"] == new
        end(it.lb, new)


def test_the_old_one_killed_while_the_new_one_starts_is_replaced_by_it(
    tmp_path: Path, backend: Counting
) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
    with upgradable(file) as it:
        new = begun(it.lb)
        eventually(lambda: len(_children(new)) == 1)
        it.lb.process.kill()
        admin_of(it.lb, count=2)
        visit(it.port)
        assert it.admin.get("status")["pid"] == new
        end(it.lb, new)


def test_the_end_of_the_new_one_ends_the_old_one_within_the_drain_timeout(
    tmp_path: Path, backend: Counting
) -> None:
    file = write_config(
        tmp_path / "tcplb.toml", {"a": backend.port}, more='[limits]\ndrain_timeout = "300ms"\n'
    )
    with upgradable(file) as it, client_of(it.port) as old_session:
        echoed(old_session)
        new = upgrade(it.lb)
        with client_of(it.port) as new_session:
            echoed(new_session)
            os.kill(new, signal.SIGTERM)
            for client in (old_session, new_session):
                with pytest.raises(ConnectionResetError):
                    client.recv(100)
        assert it.lb.process.wait(WAIT) == 5
        until_gone(new)
        it.lb.wait_for(r" KD ", count=2)


def test_the_old_one_told_to_end_has_the_drain_timeout_and_ends_at_a_second_signal(
    tmp_path: Path, backend: Counting
) -> None:
    file = write_config(
        tmp_path / "tcplb.toml", {"a": backend.port}, more='[limits]\ndrain_timeout = "1m"\n'
    )
    with upgradable(file) as it, client_of(it.port) as client:
        echoed(client)
        new = upgrade(it.lb)
        it.lb.wait_for(r"the 1 open ones have 3600 s to end")
        it.lb.signal(signal.SIGTERM)
        it.lb.wait_for(r"stopping: open connections have 60 s to end from now on")
        echoed(client, b"still here")
        it.lb.signal(signal.SIGTERM)
        assert it.lb.process.wait(WAIT) == 5
        it.lb.wait_for(r"closed 1 connections that were still open on a second signal")
        visit(it.port)
        end(it.lb, new)


def test_a_second_signal_to_the_new_one_does_not_wait_for_the_old_one(
    tmp_path: Path, backend: Counting
) -> None:
    file = write_config(
        tmp_path / "tcplb.toml", {"a": backend.port}, more='[limits]\ndrain_timeout = "1h"\n'
    )
    with upgradable(file) as it, client_of(it.port) as old_session:
        echoed(old_session)
        new = upgrade(it.lb)
        it.lb.wait_for(r"the 1 open ones")
        os.kill(new, signal.SIGTERM)
        eventually(lambda: not _children(new))
        os.kill(new, signal.SIGTERM)
        until_gone(new)
        echoed(old_session, b"still here")


def test_a_change_is_refused_while_another_process_takes_over(
    tmp_path: Path, backend: Counting
) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
    with upgradable(file) as it:
        new = begun(it.lb)
        os.kill(new, signal.SIGSTOP)
        reply = it.admin.refused("PUT", "backends", "web", "a", "weight", status=409, weight=2)
        assert "an upgrade is under way" in reply
        it.lb.signal(signal.SIGTTIN)
        it.lb.wait_for("no more workers while an upgrade is under way")
        os.kill(new, signal.SIGCONT)
        it.lb.wait_for("has taken over")
        assert Admin(it.admin.address).get("config", "diff")["changes"] == []
        assert ports_of(it.lb)[0] == it.port
        until_active(it.admin, 0)
        end(it.lb, new)


def test_a_change_that_is_under_way_is_not_forgotten(tmp_path: Path, backend: Counting) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
    with upgradable(file) as it, ThreadPoolExecutor() as threads:
        worker = worker_of(it.lb)
        os.kill(worker, signal.SIGSTOP)  # so the change takes its time
        change = threads.submit(it.admin.do, "PUT", "backends", "web", "a", "weight", weight=7)
        eventually(lambda: it.admin.backend("a")["weight"] == 7)
        it.lb.signal(signal.SIGUSR2)
        it.lb.wait_for("upgrade: starting the new process")
        assert not change.done()
        os.kill(worker, signal.SIGCONT)
        change.result(WAIT)
        new = int(it.lb.wait_for(r"upgrade: pid (\d+) has taken over")[0][1])
        eventually(lambda: it.admin.get("status")["pid"] == new)
        assert it.admin.backend("a")["weight"] == 7
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


def test_process_1_of_a_container_is_not_replaced(tmp_path: Path, backend: Counting) -> None:
    alone = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs unshare, and to be allowed a name space of one's own")
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
    with tcplb("serve", "--config", str(file), wrapper=alone) as lb:
        port = ports_of(lb)[0]
        (first,) = lb.children()
        os.kill(first, signal.SIGUSR2)
        lb.wait_for("upgrade failed, serving goes on: this is process 1")
        visit(port)
        os.kill(first, signal.SIGTERM)
        assert lb.wait() == 0


def test_variables_that_say_nothing_are_told_and_ignored(tmp_path: Path, backend: Counting) -> None:
    file = write_config(tmp_path / "tcplb.toml", {"a": backend.port})
    assert sys.platform == "linux"
    for value in ("999", "-1", "x", "", "0", "99999999999999999999"):
        with tcplb(
            *("serve", "--config", str(file)), environment={"TCPLB_PREDECESSOR": value}
        ) as lb:
            lb.wait_for(r"TCPLB_PREDECESSOR says nothing that can be used")
            visit(ports_of(lb)[0])
            assert "Traceback" not in lb.output

"""SIGUSR2, and something goes wrong: whoever is left goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.admin import (
    Admin,
    admin_of,
    ports_of,
    until_active,
    write_config,
)
from tests.e2e.test_across_workers import Counting, counting_backends
from tests.e2e.test_workers import Load
from tests.e2e.upgrading import (
    begun,
    client_of,
    end,
    one_backend,
    until_gone,
    upgradable,
    upgrade,
)
from tests.processes import WAIT, echoed, eventually, tcplb, visit, worker_of

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def backend() -> Iterator[Counting]:
    with counting_backends(1) as (made,):
        yield made


def test_with_a_broken_file_the_old_one_goes_on_and_says_so(
    tmp_path: Path, backend: Counting
) -> None:
    file = one_backend(tmp_path, backend)
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
    file = one_backend(tmp_path, backend)
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
    file = one_backend(tmp_path, backend)
    with upgradable(file) as it:
        begun(it.lb)
        it.lb.signal(signal.SIGTERM)
        assert it.lb.process.wait(WAIT) == 0
        until_gone(*it.lb.mark.processes())


def test_the_old_one_killed_right_after_is_not_missed(tmp_path: Path, backend: Counting) -> None:
    file = one_backend(tmp_path, backend)
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
    file = one_backend(tmp_path, backend)
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
    file = one_backend(tmp_path, backend, drain_timeout="300ms")
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
    file = one_backend(tmp_path, backend, drain_timeout="1m")
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
    file = one_backend(tmp_path, backend, drain_timeout="1h")
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
    file = one_backend(tmp_path, backend)
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
    file = one_backend(tmp_path, backend)
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


def test_process_1_of_a_container_is_not_replaced(tmp_path: Path, backend: Counting) -> None:
    alone = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs unshare, and to be allowed a name space of one's own")
    file = one_backend(tmp_path, backend)
    with tcplb("serve", "--config", str(file), wrapper=alone) as lb:
        port = ports_of(lb)[0]
        (first,) = lb.children()
        os.kill(first, signal.SIGUSR2)
        lb.wait_for("upgrade failed, serving goes on: this is process 1")
        visit(port)
        os.kill(first, signal.SIGTERM)
        assert lb.wait() == 0


def test_variables_that_say_nothing_are_told_and_ignored(tmp_path: Path, backend: Counting) -> None:
    file = one_backend(tmp_path, backend)
    assert sys.platform == "linux"
    for value in ("999", "-1", "x", "", "0", "99999999999999999999"):
        with tcplb(
            *("serve", "--config", str(file)), environment={"TCPLB_PREDECESSOR": value}
        ) as lb:
            lb.wait_for(r"TCPLB_PREDECESSOR says nothing that can be used")
            visit(ports_of(lb)[0])
            assert "Traceback" not in lb.output

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from tcplb.control.crew import Crew
from tcplb.control.metrics_processes import state_of, usage_of
from tcplb.dataplane.counters import Counters
from tests.control.metrics_stage import NOW, metrics_stage
from tests.peers import eventually

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
STATES = ("ready", "starting", "draining", "restarting")
FILES = 40
BYTES = 50_000_000
BUSY = f"""
import resource, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (123, 456))
files = [open("/dev/null") for _ in range({FILES})]
memory = bytearray({BYTES})
while time.process_time() < 0.2:
    pass
print("busy", flush=True)
sys.stdin.read()
"""
STAT = "42 ({name}) S 1 42 42 0 -1 4194560 9 0 0 0 {user} {system} 0 0 20 0 1 0 7 9999 {pages} 18\n"
LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units     
Max processes             77                   78                   processes 
Max open files            {soft:<20} 1048576              files     
"""  # noqa: W291 - as the kernel writes it


@pytest.fixture
def busy() -> Iterator[int]:
    """A process that has something of everything."""
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"busy\n"
        yield process.pid
        process.kill()


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Something like /proc, with process 42."""
    process = tmp_path / "proc" / "42"
    (process / "fd").mkdir(parents=True)
    write_stat(process.parent)
    (process / "limits").write_text(LIMITS.format(soft=1024))
    return process.parent


def write_stat(proc: Path, name: str = "python", user: int = 5, system: int = 7) -> None:
    text = STAT.format(name=name, user=user, system=system, pages=3)
    (proc / "42" / "stat").write_text(text)


# -- what a process uses ----------------------------------------------------------------------


@needs_proc
def test_a_real_process(busy: int) -> None:
    usage = usage_of(busy)
    assert usage is not None
    assert usage.open_files == len(list(Path(f"/proc/{busy}/fd").iterdir())) > FILES
    assert usage.max_open_files == 123
    assert BYTES < usage.resident_memory < BYTES + 100_000_000
    assert 0.1 < usage.cpu_seconds < 60


def test_figures_are_in_base_units(proc: Path) -> None:
    usage = usage_of(42, proc)
    assert usage is not None
    assert usage.cpu_seconds == 12 / os.sysconf("SC_CLK_TCK")
    assert usage.resident_memory == 3 * os.sysconf("SC_PAGE_SIZE")
    assert usage.max_open_files == 1024


@pytest.mark.parametrize("name", ["a b", ") S 1 2", "((", "\udcff", "a\nb"])
def test_any_name_of_a_program(proc: Path, name: str) -> None:
    text = STAT.format(name=name, user=1, system=1, pages=3)
    (proc / "42" / "stat").write_bytes(os.fsencode(text))
    usage = usage_of(42, proc)
    assert usage is not None
    assert usage.resident_memory == 3 * os.sysconf("SC_PAGE_SIZE")


@needs_proc
def test_a_kernel_that_does_not_count_descriptors_has_them_listed(proc: Path) -> None:
    """That is Linux before 6.2, where the folder has no size."""
    folder, sizeless = proc / "42" / "fd", Path("/proc/self/ns")
    assert sizeless.stat().st_size == 0
    folder.rmdir()
    folder.symlink_to(sizeless)
    usage = usage_of(42, proc)
    assert usage is not None
    assert usage.open_files == len(list(sizeless.iterdir())) > 3


def test_no_limit_is_infinite(proc: Path) -> None:
    (proc / "42" / "limits").write_text(LIMITS.format(soft="unlimited"))
    usage = usage_of(42, proc)
    assert usage is not None
    assert usage.max_open_files == inf


def test_one_that_is_gone_uses_nothing(proc: Path) -> None:
    assert usage_of(43, proc) is None


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    assert usage_of(os.getpid(), tmp_path / "nowhere") is None


@pytest.mark.parametrize("lacking", ["stat", "limits", "fd"])
def test_what_cannot_be_read_makes_nothing_of_all_of_it(proc: Path, lacking: str) -> None:
    path = proc / "42" / lacking
    path.rmdir() if path.is_dir() else path.unlink()
    assert usage_of(42, proc) is None


@pytest.mark.parametrize(
    ("file", "text"),
    [("stat", ""), ("stat", "42 (x) S 1"), ("limits", ""), ("limits", "Max open files x y z\n")],
)
def test_what_is_not_understood_neither(proc: Path, file: str, text: str) -> None:
    (proc / "42" / file).write_text(text)
    assert usage_of(42, proc) is None


# -- workers ----------------------------------------------------------------------------------


async def test_without_workers_there_is_the_supervisor(tmp_path: Path) -> None:
    async with metrics_stage(tmp_path / "tcplb.toml") as stage:
        page = stage.page()
        assert page.by("tcplb_workers", "state") == dict.fromkeys(STATES, 0)
        assert page.value("tcplb_worker_restarts_total") == 0
        assert page["tcplb_event_loop_lag_seconds"] == {}


async def test_without_proc_what_it_says_is_left_out(tmp_path: Path) -> None:
    async with metrics_stage(tmp_path / "tcplb.toml", proc=tmp_path / "nowhere") as stage:
        names = set(stage.page().kinds)
    usage = {
        "tcplb_open_files",
        "tcplb_max_open_files",
        "tcplb_resident_memory_bytes",
        "tcplb_cpu_seconds_total",
    }
    assert not names & usage
    assert "tcplb_workers" in names


async def test_a_figure_of_each_process_by_its_name(tmp_path: Path) -> None:
    async with metrics_stage(tmp_path / "tcplb.toml", workers=2) as stage:
        await stage.crew.started()
        page = stage.page()
        for name in (
            "tcplb_open_files",
            "tcplb_max_open_files",
            "tcplb_resident_memory_bytes",
            "tcplb_cpu_seconds_total",
        ):
            assert set(page.by(name, "process")) == {"supervisor", "worker 1", "worker 2"}
        one, two = (slot.process.pid for slot in stage.crew.slots if slot.process is not None)
        assert one != two

        def is_that_of_worker_2() -> bool:
            usage = usage_of(two)
            assert usage is not None
            return stage.page().value("tcplb_open_files", process="worker 2") == usage.open_files

        await eventually(is_that_of_worker_2)  # it may open one between the two looks


async def test_the_states_of_a_worker(tmp_path: Path) -> None:
    async with metrics_stage(tmp_path / "tcplb.toml", workers=1) as stage:
        crew = stage.crew

        def states() -> dict[str, float]:
            found = stage.page().by("tcplb_workers", "state")
            return {state: count for state, count in found.items() if count}

        assert states() == {"starting": 1}
        await crew.started()
        assert states() == {"ready": 1}
        assert pid_of(crew) > 0
        os.kill(pid_of(crew), signal.SIGKILL)
        await eventually(lambda: crew.restarts == 1)
        assert states() == {"restarting": 1}
        assert stage.value("tcplb_worker_restarts_total") == 1
        assert set(stage.page().by("tcplb_open_files", "process")) == {"supervisor"}
        await eventually(lambda: states() == {"ready": 1})
        crew.add()
        assert states() == {"ready": 1, "starting": 1}
        await eventually(lambda: states() == {"ready": 2})
        crew.remove(60.0)
        assert [state_of(slot) for slot in crew.slots] == ["ready", "draining"]
        await eventually(lambda: states() == {"ready": 1})
        assert stage.value("tcplb_worker_restarts_total") == 1


def pid_of(crew: Crew) -> int:
    (slot,) = crew.slots
    assert slot.process is not None
    return slot.process.pid


async def test_lag_and_heartbeat_are_those_of_each_worker(tmp_path: Path) -> None:
    async with metrics_stage(tmp_path / "tcplb.toml", workers=2) as stage:
        # They are still starting, so the rows are ours.
        stage.board.publish(1, NOW - 2.5, Counters(active=7))
        stage.board.set_lag(1, 0.0125)
        page = stage.page()
        assert page.by("tcplb_worker_heartbeat_age_seconds", "worker") == {"2": 2.5}
        assert page.by("tcplb_event_loop_lag_seconds", "worker") == {"2": 0.0125}
        assert page.by("tcplb_worker_connections_active", "worker") == {"2": 7}
        # One that has published since the clock was read.
        stage.board.publish(1, NOW + 1.0, Counters())
        assert stage.page().by("tcplb_worker_heartbeat_age_seconds", "worker") == {"2": 0}

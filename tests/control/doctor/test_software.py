from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from tcplb.control.doctor.finding import Level
from tcplb.control.doctor.software import (
    check_engine,
    check_pipes,
    check_processors,
    check_python,
    check_uvloop,
    installed,
    processor_quota,
    try_splice,
)
from tests.control.doctor.machines import config, judged, machine, put

PIPES = "fs.pipe-user-pages-soft"


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ("3.11.0", Level.OK),
        ("3.14.0rc1", Level.OK),
        ("4.0", Level.OK),
        ("3.10.9", Level.PROBLEM),
        ("3.9", Level.PROBLEM),
    ],
)
def test_python(given: str, level: Level) -> None:
    finding = check_python(given)
    assert finding.level is level
    assert finding.what.endswith(f" {given}")


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ("0.23.0", Level.OK),
        ("0.100", Level.OK),
        ("1.0", Level.OK),
        ("0.22.1", Level.PROBLEM),
        (None, Level.PROBLEM),
    ],
)
def test_uvloop(given: str | None, level: Level) -> None:
    finding = check_uvloop(given)
    assert finding.level is level
    assert ("uvloop>=0.23" in finding.todo) == (level is Level.PROBLEM)


def test_what_is_installed() -> None:
    assert installed("uvloop") == importlib.metadata.version("uvloop")
    assert installed("no-such-package-as-this") is None


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_splice_works_here() -> None:
    assert try_splice() is None


@pytest.mark.parametrize(
    ("engine", "error", "level"),
    [
        ("auto", None, Level.OK),
        ("splice", None, Level.OK),
        ("auto", "Operation not permitted", Level.WARNING),
        ("streams", "Operation not permitted", Level.WARNING),
        ("splice", "Operation not permitted", Level.PROBLEM),
    ],
)
def test_the_engine(engine: str, error: str | None, level: Level) -> None:
    finding = check_engine(config(listeners=[{"engine": engine, "name": "web"}]), error=error)
    assert finding.level is level
    assert error is None or error in finding.what
    assert ("listener web" in finding.what) == (level is Level.PROBLEM)


@pytest.mark.parametrize(
    ("pages", "workers", "user", "judgement"),
    [
        (16384, 1, 1000, (Level.OK, "")),
        (16384, 2, 1000, (Level.WARNING, f"sysctl -w {PIPES}=32768")),
        (16383, 1, 1000, (Level.WARNING, f"sysctl -w {PIPES}=16384")),
        (16383, 1, 0, (Level.OK, "")),
        (0, 9, 1000, (Level.OK, "")),
        ("", 1, 1000, (Level.UNKNOWN, "")),
    ],
)
def test_the_pages_of_pipes(
    tmp_path: Path, pages: object, workers: int, user: int, judgement: tuple[Level, str]
) -> None:
    assert judged(check_pipes(machine(tmp_path, {PIPES: pages}, user=user), workers)) == judgement


def test_fewer_large_pages_do(tmp_path: Path) -> None:
    made = machine(tmp_path, {PIPES: 1024}, page_size=65536)
    assert check_pipes(made, 1).level is Level.OK
    assert check_pipes(made, 2).level is Level.WARNING


# -- processors -------------------------------------------------------------------------------


def quota(tree: Path, cgroup: str, **quotas: str) -> float | None:
    """Return the quota in a tree of cgroups; "a_b" stands for the one at /a/b, "root" for /."""
    made = machine(tree)
    put(made, "proc/self/cgroup", cgroup)
    for name, content in quotas.items():
        folder = "" if name == "root" else name.replace("_", "/") + "/"
        put(made, f"sys/fs/cgroup/{folder}cpu.max", content)
    return processor_quota(made)


def test_the_smallest_quota_on_the_way_counts(tmp_path: Path) -> None:
    assert quota(tmp_path, "0::/a/b", a="150000 100000", a_b="200000 100000") == 1.5
    assert quota(tmp_path, "0::/a/b", a="max 100000", a_b="50000 100000") == 0.5
    assert quota(tmp_path, "0::/c/b", a="150000 100000") is None


def test_in_a_container_it_is_at_the_root(tmp_path: Path) -> None:
    assert quota(tmp_path, "0::/", root="300000 100000") == 3
    assert quota(tmp_path, "0::/../x", root="300000 100000") == 3
    assert quota(tmp_path, "0::/x//", root="300000 100000", x="200000 100000") == 2


@pytest.mark.parametrize("content", ["max 100000", "", "x y", "1", "1 0", "-1 100000"])
def test_what_is_no_quota_is_none(tmp_path: Path, content: str) -> None:
    assert quota(tmp_path, "0::/", root=content) is None


@pytest.mark.parametrize("cgroup", ["", "4:memory:/x\n1:name=systemd:/", "nonsense"])
def test_without_version_2_there_is_none(tmp_path: Path, cgroup: str) -> None:
    assert quota(tmp_path, cgroup, root="100000 100000") is None


@pytest.mark.parametrize(
    ("processors", "cpu_max", "workers", "judgement"),
    [
        (4, None, 4, (Level.OK, "")),
        (4, None, 5, (Level.WARNING, "workers = 4 in the settings, or more processors")),
        (4, "250000 100000", 2, (Level.OK, "")),
        (
            4,
            "250000 100000",
            3,
            (Level.WARNING, "workers = 2 in the settings, or more processors"),
        ),
        (2, "900000 100000", 2, (Level.OK, "")),
        (4, "50000 100000", 1, (Level.OK, "")),
    ],
)
def test_more_workers_than_processors(
    tmp_path: Path,
    processors: int,
    cpu_max: str | None,
    workers: int,
    judgement: tuple[Level, str],
) -> None:
    made = machine(tmp_path, processors=processors)
    put(made, "proc/self/cgroup", "0::/")
    if cpu_max is not None:
        put(made, "sys/fs/cgroup/cpu.max", cpu_max)
    (finding,) = check_processors(made, workers)
    assert judged(finding) == judgement

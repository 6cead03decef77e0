from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplb.control.doctor.descriptors import (
    check_descriptors,
    connections_with,
    descriptors_for,
)
from tcplb.control.doctor.finding import Level
from tests.control.doctor.machines import config, judged, machine, one

SETTINGS = {"fs.nr_open": 1048576, "fs.file-max": 1000000, "fs.file-nr": "500\t0\t1000000"}


def limits(wanted: int | str) -> dict[str, dict[str, int | str]]:
    return {"limits": {"max_connections": wanted}}


@given(st.integers(1, 10**9))
def test_what_is_needed_is_the_least_that_suffices(connections: int) -> None:
    needed = descriptors_for(connections)
    assert connections_with(needed) == connections
    assert connections == 1 or connections_with(needed - 1) == connections - 1


@pytest.mark.parametrize(
    ("hard", "wanted", "judgement"),
    [
        (1032, 500, (Level.OK, "")),
        (-1, 500, (Level.OK, "")),
        (-1, "auto", (Level.OK, "")),
        (8224, "auto", (Level.OK, "")),
        (
            8223,
            "auto",
            (
                Level.WARNING,
                "LimitNOFILE=65536 in the unit file, or as root before the start: ulimit -n 65536",
            ),
        ),
        (
            1031,
            500,
            (
                Level.PROBLEM,
                "LimitNOFILE=1032 in the unit file, or as root before the start: ulimit -n 1032",
            ),
        ),
    ],
)
def test_the_hard_limit_of_open_files(
    tmp_path: Path, hard: int, wanted: int | str, judgement: tuple[Level, str]
) -> None:
    made = machine(tmp_path, SETTINGS, open_files=(100, hard))
    assert judged(one(check_descriptors(config(**limits(wanted)), made, 1), "open files")) == (
        judgement
    )


def test_what_is_said_of_the_limit(tmp_path: Path) -> None:
    made = machine(tmp_path, SETTINGS, open_files=(100, 1031))
    assert one(check_descriptors(config(**limits(500)), made, 1), "open files").what == (
        "the hard limit of 1031 allows 499 connections in each worker, "
        "and limits.max_connections = 500 needs 1032"
    )


@pytest.mark.parametrize(
    ("most", "wanted", "judgement"),
    [
        (1032, 500, (Level.OK, "")),
        (1031, 500, (Level.PROBLEM, "sysctl -w fs.nr_open=1032")),
        (1, "auto", (Level.OK, "")),
        ("nonsense", 500, (Level.UNKNOWN, "")),
    ],
)
def test_what_a_process_may_be_given(
    tmp_path: Path, most: int | str, wanted: int | str, judgement: tuple[Level, str]
) -> None:
    made = machine(tmp_path, SETTINGS | {"fs.nr_open": most})
    assert judged(one(check_descriptors(config(**limits(wanted)), made, 1), "fs.nr_open")) == (
        judgement
    )


@pytest.mark.parametrize(
    ("most", "wanted", "hard", "judgement"),
    [
        (500 + 2 * 1032, 500, 5000, (Level.OK, "")),
        (500 + 2 * 1032 - 1, 500, 5000, (Level.WARNING, "sysctl -w fs.file-max=2564")),
        (500 + 2 * 5000, "auto", 5000, (Level.OK, "")),
        (500 + 2 * 5000 - 1, "auto", 5000, (Level.WARNING, "sysctl -w fs.file-max=10500")),
        (1000, "auto", -1, (Level.WARNING, f"sysctl -w fs.file-max={500 + 2 * 65536}")),
        ("", "auto", 5000, (Level.UNKNOWN, "")),
    ],
)
def test_what_the_whole_machine_may_have(
    tmp_path: Path,
    most: int | str,
    wanted: int | str,
    hard: int,
    judgement: tuple[Level, str],
) -> None:
    made = machine(tmp_path, SETTINGS | {"fs.file-max": most}, open_files=(100, hard))
    assert judged(one(check_descriptors(config(**limits(wanted)), made, 2), "fs.file-max")) == (
        judgement
    )

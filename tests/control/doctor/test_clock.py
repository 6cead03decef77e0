from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tcplb.control.doctor.clock import check_clock
from tcplb.control.doctor.finding import Level
from tests.control.doctor.machines import machine, put
from tests.processes import WAIT

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "level"), [(True, Level.OK), (False, Level.WARNING), (None, Level.UNKNOWN)]
)
def test_whether_it_is_synchronised(tmp_path: Path, said: bool | None, level: Level) -> None:
    finding = check_clock(machine(tmp_path), NOW, said)
    assert finding.level is level
    assert finding.what.startswith("2026-05-06 07:08:09 UTC")
    assert bool(finding.todo) == (level is not Level.OK)


def test_timesyncd_leaves_a_file(tmp_path: Path) -> None:
    made = machine(tmp_path)
    put(made, "run/systemd/timesync/synchronized", "")
    assert check_clock(made, NOW, None).level is Level.OK


def test_a_time_before_the_program_cannot_be(tmp_path: Path) -> None:
    made = machine(tmp_path)
    assert check_clock(made, datetime(1970, 1, 2, tzinfo=UTC), True).level is Level.PROBLEM


ASK = "from tcplb.control.doctor.clock import ask_timedatectl; print(ask_timedatectl())"


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("echo yes", "True"),
        ("echo no", "False"),
        ("echo cannot >&2; exit 1", "None"),
        ('test "$*" = "show --property=NTPSynchronized --value" && echo yes', "True"),
        (None, "None"),
    ],
)
def test_what_timedatectl_says(tmp_path: Path, script: str | None, answer: str) -> None:
    if script is not None:
        program = tmp_path / "timedatectl"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env=dict(os.environ) | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (answer, "")

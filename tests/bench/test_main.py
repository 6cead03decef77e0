"""The command, in its smallest form."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from bench.__main__ import own_failures
from bench.results import Skipped

pytestmark = pytest.mark.e2e


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_smoke_run_reports_a_row_in_all_three_forms(tmp_path: Path) -> None:
    written, drawn = tmp_path / "run.json", tmp_path / "run.svg"
    done = bench(
        *("--smoke", "--only", "connect", "--candidates", "tcplb-streams"),
        *("--json", str(written), "--svg", str(drawn)),
    )
    assert done.returncode == 0, done.stderr
    assert "\n| tcplb-streams | " in done.stdout.partition("## connect")[2]
    rows = json.loads(written.read_text())["results"]
    assert {(row["candidate"], row["measure"]) for row in rows} == {
        ("tcplb-streams", "cpu"),
        ("tcplb-streams", "rate"),
    }
    assert ET.fromstring(drawn.read_text()).tag.endswith("svg")  # noqa: S314 - our own text


def test_a_smoke_run_fails_for_tcplb_and_not_for_what_is_not_installed() -> None:
    missing = Skipped("connect", "nginx", "nginx is not installed")
    broken = Skipped("connect", "tcplb-splice", "does not start: Error")
    assert own_failures([missing]) == []
    assert own_failures([missing, broken, replace(broken, scenario="bulk")]) == ["tcplb-splice"]


def test_an_unknown_candidate_is_a_usage_error() -> None:
    done = bench("--candidates", "apache")
    assert done.returncode == 2
    assert "apache" in done.stderr

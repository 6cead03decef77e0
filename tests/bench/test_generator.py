"""The comparison of the load generator with wrk."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from bench.generator import Outcome, to_markdown


@pytest.mark.e2e
def test_a_smoke_run_compares_with_wrk() -> None:
    missing = [name for name in ("nginx", "wrk") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    done = subprocess.run(
        [sys.executable, "-m", "bench.generator", "--smoke"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "\n| wrk | " in done.stdout
    assert "\n| tcplb bench | " in done.stdout


def test_the_verdict_is_on_the_median_of_the_ratios_within_rounds() -> None:
    # 0.8, 0.95 and 0.9: the rates themselves rise and fall with the machine.
    done = [
        (Outcome(100, 5), Outcome(80, 6)),
        (Outcome(200, 5), Outcome(190, 6)),
        (Outcome(50, 5), Outcome(45, 6)),
    ]
    text = to_markdown(done, 3)
    assert "| tcplb bench | 80 (45 – 190) | 0.90 (0.80 – 0.95) | 6.00" in text
    assert text.endswith("At least 0.9 of wrk's rate: met.")
    assert to_markdown(done[:1], 3).endswith("missed.")

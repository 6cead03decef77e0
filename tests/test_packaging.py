"""`pip install .` gives the two commands and a typed package."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

import pytest

from tcplb import __version__

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(300)
def test_pip_install_in_a_fresh_environment(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    commands = tmp_path / "venv" / "bin"
    done = subprocess.run(
        [commands / "python", "-m", "pip", "install", "--quiet", str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 and "connection" in done.stderr.lower():
        pytest.skip("no package registry can be reached")
    assert done.returncode == 0, done.stderr
    for command in ("tcplb", "echo-backends"):
        helped = subprocess.run([commands / command, "--help"], check=True, capture_output=True)
        assert b"Usage: " in helped.stdout
    version = subprocess.run([commands / "tcplb", "--version"], check=True, capture_output=True)
    assert version.stdout.decode() == f"tcplb, version {__version__}\n"
    where = "import tcplb, pathlib; print(pathlib.Path(tcplb.__file__).with_name('py.typed'))"
    marker = subprocess.run(
        [commands / "python", "-c", where], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout.strip()
    assert Path(marker).exists()
    assert str(tmp_path) in marker

"""Where the files are, and the programs that judge them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes import WAIT

TOP = Path(__file__).parents[2]
CONTRIB = TOP / "contrib"


def needs(program: str) -> pytest.MarkDecorator:
    """Skip a test where there is no such program."""
    missing = shutil.which(program) is None
    return pytest.mark.skipif(missing, reason=f"needs {program}")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; its errors come with its output."""
    return subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=WAIT,
        check=False,
    )


def replaced(text: str, **changes: tuple[str, str]) -> str:
    """Return `text` with each old part, which has to be there, replaced by the new one."""
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    return text

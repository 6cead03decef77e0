"""Runs an expression in a process of its own, for what must not hang on this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def digest_by(module: str, hash_seed: str) -> str:
    """Return what `placement_digest` of a test module gives where `hash()` is seeded like that."""
    code = f"from {module} import placement_digest; print(placement_digest())"
    fresh = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return fresh.stdout.strip()

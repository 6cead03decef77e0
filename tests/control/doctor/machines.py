"""Machines that are made up, and configs by their text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tcplb.config.models import Config
from tcplb.control.doctor.finding import Finding, Level
from tcplb.control.doctor.machine import Machine


def machine(root: Path, settings: Mapping[str, object] | None = None, **others: Any) -> Machine:
    """Return a machine whose kernel has `settings` and nothing else; `others` as in `Machine`."""
    made = Machine(root, open_files=(1024, 65536), user=1000, processors=4, page_size=4096)
    for name, value in (settings or {}).items():
        put(made, f"proc/sys/{name.replace('.', '/')}", value)
    return replace(made, **others)


def put(machine: Machine, path: str, content: object) -> None:
    """Write a file below the root."""
    file = machine.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{content}\n")


def config(**tables: Any) -> Config:
    """Return settings, as code writes them."""
    return Config.model_validate(tables)


def over(*backends: str, **pool: Any) -> dict[str, Any]:
    """Return the tables of one pool over backends with these addresses."""
    return {"pools": {"default": {"backends": [{"address": one} for one in backends], **pool}}}


def one(findings: Iterable[Finding], check: str) -> Finding:
    """Return the only finding of a check."""
    (found,) = (finding for finding in findings if finding.check == check)
    return found


def judged(finding: Finding) -> tuple[Level, str]:
    """Return how bad it is, and what to do."""
    return finding.level, finding.todo

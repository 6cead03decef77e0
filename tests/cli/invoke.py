"""Calls the commands in this process, where no process of its own is the point."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from typing import Any

from click.testing import CliRunner, Result

from tcplb.cli.main import main


def invoke(*arguments: str, environment: Mapping[str, str] | None = None) -> Result:
    """Run a `tcplb` command. Any error that it does not turn into a message is raised."""
    ours = {name: None for name in os.environ if name.startswith("TCPLB_")}
    return CliRunner().invoke(
        main,
        list(arguments),
        prog_name="tcplb",
        env=ours | dict(environment or {}),
        catch_exceptions=False,
    )


def shown(*flags: str, environment: Mapping[str, str] | None = None) -> str:
    """Return what `config show` prints."""
    result = invoke("config", "show", *flags, environment=environment)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def settings(*flags: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the effective settings, as written."""
    return tomllib.loads(shown(*flags, environment=environment))


def origin(line_start: str, text: str) -> str:
    """Return where `config show` says that the value of a line came from."""
    lines = [line for line in text.splitlines() if line.startswith(line_start)]
    assert len(lines) == 1, text
    return lines[0].rpartition("  # ")[2]

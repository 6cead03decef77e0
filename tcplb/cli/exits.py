"""The exit codes: the one place where they are chosen."""

from __future__ import annotations

import re
from enum import IntEnum

from tcplb.errors import BindError, ConfigError, StrategyError, TcplbError

_FLAG_OR_VARIABLE = re.compile(r"--[a-z-]+|TCPLB_[A-Z_]+")


class Exit(IntEnum):
    """What a command's exit code means."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    BAD_CONFIG = 3
    CANNOT_BIND = 4
    DRAIN_TIMED_OUT = 5
    GATE_MISSED = 99


def exit_for(error: TcplbError) -> Exit:
    """Return the exit code for an error that ended a command."""
    if isinstance(error, ConfigError):
        # The whole of it: a file may be called TCPLB_prod.toml.
        from_command_line = all(
            _FLAG_OR_VARIABLE.fullmatch(problem.where) for problem in error.problems
        )
        return Exit.USAGE if from_command_line else Exit.BAD_CONFIG
    if isinstance(error, StrategyError):
        return Exit.BAD_CONFIG
    if isinstance(error, BindError):
        return Exit.CANNOT_BIND
    return Exit.FAILURE
